"""Which of PyTorch's operators are claimed, and what each is in `convlens.ops`.

One adapter for each name of PyTorch's operator database. An adapter has the signature of PyTorch's function, with
arrays in place of tensors, and gives the `Call` that must have the same value. `NotClaimed` says what of an operator is
not.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

Array = np.ndarray


class NotClaimed(Exception):  # noqa: N818 - not an error: the sample is outside of what is claimed
    """A variant of an operator for which there is no operation of ours."""


@dataclass
class Call:
    """`ops.<name>(**arrays, **settings)`; `backward` holds settings of the backward function alone."""

    name: str
    arrays: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    backward: dict[str, Any] = field(default_factory=dict)


def unless(condition: Any, what: str) -> None:
    if condition:
        raise NotClaimed(what)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def binary(name: str, swapped: bool = False):
    def adapter(input, other, *, alpha=1, rounding_mode=None):
        unless(alpha != 1 or rounding_mode, "a factor or rounding")
        unless(isinstance(input, complex) or isinstance(other, complex), "complex numbers")
        return Call(name, {"a": other, "b": input} if swapped else {"a": input, "b": other})

    return adapter


def unary(name: str, **settings: Any):
    return lambda input: Call(name, {"x": input}, settings)


def power(input, exponent):
    unless(
        not isinstance(exponent, int | float) or not isinstance(input, np.ndarray), "an exponent that is no constant"
    )
    return Call("power", {"x": input}, {"exponent": exponent})


def reduction(name: str):
    def adapter(input, dim=None, keepdim=False, *, dtype=None):
        unless(dtype, "another dtype")
        return Call(name, {"x": input}, {"axis": None if dim in ((), []) else dim, "keepdims": keepdim})

    return adapter


# --- activations ------------------------------------------------------------------------------------------------------


def bent(name: str, **names: str):
    """An activation with settings; `names` says what PyTorch's are called here, in PyTorch's order."""

    def adapter(input, *args, inplace=False, **kwargs):
        given = dict(zip(names, args, strict=False)) | kwargs
        return Call(name, {"x": input}, {names[key]: value for key, value in given.items()})

    return adapter


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    return Call("clamp", {"x": input}, {"low": min_val, "high": max_val}, {"closed": False})


def softmax(name: str):
    def adapter(input, dim=None, *, dtype=None):
        unless(dtype or dim is None, "another dtype, or no axis")
        return Call(name, {"x": input}, {"axis": dim})

    return adapter


# --- layers -----------------------------------------------------------------------------------------------------------


def weighted(name: str, **defaults: Any):
    def adapter(input, weight, bias=None, *args, **kwargs):
        settings = dict(zip(defaults, args, strict=False)) | kwargs
        return Call(name, {"x": input, "w": weight, "b": bias}, settings)

    return adapter


CONVOLUTION = dict.fromkeys(("stride", "padding", "dilation", "groups"))
TRANSPOSED = dict.fromkeys(("stride", "padding", "output_padding", "groups", "dilation"))


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training:
        return Call("batch_norm", {"x": input, "w": weight, "b": bias}, {"eps": eps})
    return Call(
        "batch_norm_inference",
        {"x": input, "mean": running_mean, "var": running_var, "w": weight, "b": bias},
        {"eps": eps},
    )


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    return Call("layer_norm", {"x": input, "w": weight, "b": bias}, {"axes": len(normalized_shape), "eps": eps})


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    return Call("group_norm", {"x": input, "w": weight, "b": bias}, {"groups": num_groups, "eps": eps})


def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    unless(not use_input_stats, "instance normalization with running statistics")
    return Call("instance_norm", {"x": input, "w": weight, "b": bias}, {"eps": eps})


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    return Call("local_response_norm", {"x": input}, {"size": size, "alpha": alpha, "beta": beta, "k": k})


def dropout(input, p=0.5, training=True, inplace=False):
    unless(training and p not in (0, 1), "random masks")
    return Call("dropout", {"x": input}, {"rate": p, "training": training, "seed": 0})


def max_pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    settings = {"kernel": kernel_size, "stride": stride or None, "padding": padding, "dilation": dilation}
    name = "max_pool2d_with_indices" if return_indices else "max_pool2d"
    return Call(name, {"x": input}, {**settings, "ceil": ceil_mode})


def avg_pool(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    settings = {"kernel": kernel_size, "stride": stride or None, "padding": padding, "ceil": ceil_mode}
    return Call(
        "avg_pool2d", {"x": input}, {**settings, "count_padding": count_include_pad, "divisor": divisor_override}
    )


def adaptive(name: str):
    def adapter(input, output_size, return_indices=False):
        sizes = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
        size = tuple(n if m is None else m for m, n in zip(sizes, input.shape[-len(sizes) :], strict=True))
        return Call(f"{name}_with_indices" if return_indices else name, {"x": input}, {"size": size})

    return adapter


RESIZED = {
    **dict.fromkeys(("nearest", "nearest-exact"), "upsample_nearest"),
    **dict.fromkeys(("linear", "bilinear", "trilinear"), "upsample_bilinear"),
    "bicubic": "upsample_bicubic",
}


def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    unless(antialias or mode == "area" or recompute_scale_factor, "smoothing, or a size computed from the factor")
    settings = {"size": size} if size is not None else {"scale": scale_factor}
    settings = {key: tuple(v) if isinstance(v, list | tuple) else v for key, v in settings.items()}
    settings |= {"exact": mode == "nearest-exact"} if "nearest" in mode else {"align_corners": bool(align_corners)}
    return Call(RESIZED[mode], {"x": input}, settings)


# --- shapes -----------------------------------------------------------------------------------------------------------


def flatten(input, start_dim=0, end_dim=-1):
    return Call("flatten", {"x": input}, {"start": start_dim, "end": end_dim})


def reshape(input, *shape):
    return Call("reshape", {"x": input}, {"shape": _listed(shape)})


def _listed(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes


def permute(input, *dims):
    return Call("permute", {"x": input}, {"axes": _listed(dims)})


def transpose(input, dim0=0, dim1=1):
    axes = list(range(input.ndim))
    if input.ndim > 1:
        axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return Call("permute", {"x": input}, {"axes": tuple(axes)})


def expand(input, *size):
    return Call("broadcast", {"x": input}, {"shape": _listed(size)})


def expand_as(input, other):
    return Call("broadcast", {"x": input}, {"shape": other.shape})


def take(input, *index):
    return Call("take", {"x": input}, {"index": index})


def item(input, key):
    index = key if isinstance(key, tuple) else (key,)
    basic = int | slice | type(None) | type(Ellipsis)
    unless(not all(isinstance(i, basic) and not isinstance(i, bool) for i in index), "an index that is an array")
    return take(input, *index)


def select(input, dim, index):
    return take(input, *(slice(None),) * (dim % input.ndim), index)


def narrow(input, dim, start, length):
    unless(isinstance(start, np.ndarray), "a start that is an array")
    start %= input.shape[dim] or 1
    return take(input, *(slice(None),) * (dim % input.ndim), slice(start, start + length))


def unsqueeze(input, dim):
    return take(input, *(slice(None),) * (dim % (input.ndim + 1)), None)


def squeeze(input, dim=None):
    dims = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {d % input.ndim for d in dims if input.ndim and input.shape[d] == 1}
    return take(input, *(0 if axis in gone else slice(None) for axis in range(input.ndim)))


def concat(tensors, dim=0):
    unless(any(t.shape == (0,) for t in tensors) and any(t.ndim > 1 for t in tensors), "empty parts of another rank")
    return Call("concat", {"xs": tensors}, {"axis": dim})


def pad(input, pad, mode="constant", value=None):
    pairs = tuple((pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2))
    return Call("pad", {"x": input}, {"padding": pairs, "mode": mode, "value": value or 0.0})


def constant_pad(input, pad_widths, value=0):
    return pad(input, pad_widths, "constant", value)


def pixel_shuffle(input, upscale_factor):
    return Call("pixel_shuffle", {"x": input}, {"factor": upscale_factor})


def pixel_unshuffle(input, downscale_factor):
    return Call("pixel_unshuffle", {"x": input}, {"factor": downscale_factor})


# --- losses -----------------------------------------------------------------------------------------------------------


def loss(name: str, **extra: str):
    """A loss of two arrays; `extra` says what PyTorch's settings are called here."""

    def adapter(input, target, *, reduction="mean", weight=None, **kwargs):
        unless(weight is not None, "a weight per element")
        unless(input.shape != target.shape, "targets that are broadcast")
        settings = {extra[key]: value for key, value in kwargs.items()}
        return Call(name, {"prediction": input, "target": target}, {"reduction": reduction, **settings})

    return adapter


def cross_entropy(input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    settings = {"reduction": reduction, "smoothing": label_smoothing, "weight": weight}
    ignored = ignore_index if target.dtype.kind in "iu" else None
    return Call("cross_entropy", {"logits": input, "target": target}, {**settings, "ignore_index": ignored})


def nll_loss(input, target, weight=None, *, ignore_index=-100, reduction="mean"):
    settings = {"reduction": reduction, "weight": weight, "ignore_index": ignore_index}
    return Call("nll", {"log_probabilities": input, "target": target}, settings)


def binary_cross_entropy(input, target, weight=None, *, pos_weight=None, reduction="mean"):
    settings = {"weight": 1.0 if weight is None else weight, "reduction": reduction}
    settings["positive_weight"] = 1.0 if pos_weight is None else pos_weight
    return Call("binary_cross_entropy", {"logits": input, "target": target}, settings)


def poisson(input, target, *, log_input=True, full=False, eps=1e-8, reduction="mean"):
    unless(log_input or full, "logarithmic rates, or the constant term")
    return Call("poisson", {"prediction": input, "target": target}, {"eps": eps, "reduction": reduction})


F = "nn.functional."
OPERATORS = {
    **{name: binary(ours) for name, ours in [("add", "add"), ("sub", "subtract"), ("mul", "multiply")]},
    **dict.fromkeys(("div/no_rounding_mode", "true_divide"), binary("divide")),
    "rsub": binary("subtract", swapped=True),
    "pow": power,
    **{name: unary("power", exponent=e) for name, e in [("square", 2), ("reciprocal", -1)]},
    **{name: unary("power", exponent=e) for name, e in [("sqrt", 0.5), ("rsqrt", -0.5)]},
    "neg": unary("scale_shift", scale=-1),
    "abs": unary("absolute"),
    **{name: unary(name) for name in ("exp", "log", "sigmoid", "tanh")},
    **{name: reduction(ours) for name, ours in [("sum", "total"), ("mean", "mean")]},
    **{F + name: bent(name) for name in ("relu", "selu", "silu", "mish")},
    F + "logsigmoid": bent("log_sigmoid"),
    F + "leaky_relu": bent("leaky_relu", negative_slope="slope"),
    F + "threshold": bent("threshold", threshold="threshold", value="value"),
    **{F + name: bent(name, alpha="alpha") for name in ("elu", "celu")},
    F + "softplus": bent("softplus", beta="beta", threshold="threshold"),
    F + "gelu": bent("gelu", approximate="approximate"),
    F + "glu": bent("glu", dim="axis"),
    F + "prelu": lambda input, weight: Call("prelu", {"x": input, "w": weight}),
    F + "hardtanh": hardtanh,
    F + "relu6": partial(hardtanh, min_val=0, max_val=6),
    **{name: softmax(name) for name in ("softmax", "log_softmax")},
    F + "linear": weighted("linear"),
    **{F + name: weighted(name, **CONVOLUTION) for name in ("conv1d", "conv2d")},
    F + "conv_transpose2d": weighted("conv_transpose2d", **TRANSPOSED),
    **{name: lambda a, b: Call("matmul", {"a": a, "b": b}) for name in ("matmul", "mm", "bmm")},
    F + "batch_norm": batch_norm,
    F + "layer_norm": layer_norm,
    F + "group_norm": group_norm,
    F + "instance_norm": instance_norm,
    F + "local_response_norm": local_response_norm,
    **{F + name: dropout for name in ("dropout", "dropout2d", "dropout3d")},
    F + "max_pool2d": max_pool,
    F + "avg_pool2d": avg_pool,
    **{F + name: adaptive(name) for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d")},
    **{F + f"interpolate/{mode}": interpolate for mode in RESIZED},
    F + "upsample_nearest": interpolate,
    F + "upsample_bilinear": partial(interpolate, mode="bilinear", align_corners=True),
    "flatten": flatten,
    **dict.fromkeys(("reshape", "view"), reshape),
    **dict.fromkeys(("reshape_as", "view_as"), lambda input, other: reshape(input, *other.shape)),
    "permute": permute,
    **dict.fromkeys(("transpose", "t"), transpose),
    **dict.fromkeys(("expand", "broadcast_to"), expand),
    "expand_as": expand_as,
    "__getitem__": item,
    "select": select,
    "narrow": narrow,
    "unsqueeze": unsqueeze,
    **dict.fromkeys(("squeeze", "squeeze/multiple"), squeeze),
    "cat": concat,
    **{F + f"pad/{mode}": pad for mode in ("constant", "reflect", "replicate", "circular")},
    "constant_pad_nd": constant_pad,
    F + "pixel_shuffle": pixel_shuffle,
    F + "pixel_unshuffle": pixel_unshuffle,
    F + "mse_loss": loss("mse"),
    F + "l1_loss": loss("mae"),
    F + "huber_loss": loss("huber", delta="delta"),
    F + "smooth_l1_loss": loss("smooth_l1", beta="beta"),
    F + "cross_entropy": cross_entropy,
    F + "nll_loss": nll_loss,
    F + "binary_cross_entropy_with_logits": binary_cross_entropy,
    F + "poisson_nll_loss": poisson,
}
