"""What each operation of an exported PyTorch program becomes in a graph.

One function for each name of PyTorch's operator library ("aten"). It receives the builder and the operator's arguments
by name, tensors as `Out`, and emits nodes. No PyTorch is needed here: programs are read by `from_torch`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from convlens.base.errors import InputError
from convlens.scratch.graph import Ref


@dataclass(frozen=True)
class Out:
    """The output of the node at this position, and its shape (None where a size is known at run time only)."""

    position: int
    shape: tuple[int | None, ...]


class Builder(Protocol):
    """What the functions below need: see `from_torch._Builder`."""

    def emit(self, op: str, inputs: list[Out | None], **settings: Any) -> Out:
        """Adds a node. The output's shape is taken from the program if this is the last node of its operation."""
        ...

    def next_dropout(self) -> int:
        """The number of the next dropout."""
        ...


Arguments = Mapping[str, Any]
Handler = Callable[[Builder, Arguments], Any]


def _numbers(value: Any) -> Any:
    """Lists of settings as tuples."""
    return tuple(value) if isinstance(value, (list, tuple)) else value


# --- layers ---------------------------------------------------------------------------------------------------------


def conv(op: str) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        settings = {key: _numbers(a[key]) for key in ("stride", "padding", "dilation")}
        return g.emit(op, [a["input"], a["weight"], a["bias"]], groups=a["groups"], **settings)

    return handler


def conv_transpose2d(g: Builder, a: Arguments) -> Out:
    keys = ("stride", "padding", "output_padding", "dilation")
    settings = {key: _numbers(a[key]) for key in keys}
    return g.emit("conv_transpose2d", [a["input"], a["weight"], a["bias"]], groups=a["groups"], **settings)


def linear(g: Builder, a: Arguments) -> Out:
    return g.emit("linear", [a["input"], a["weight"], a["bias"]])


def batch_norm(g: Builder, a: Arguments) -> Out:
    arrays = [a["input"], a["weight"], a["bias"], a["running_mean"], a["running_var"]]
    return g.emit("batch_norm", arrays, momentum=a["momentum"], eps=a["eps"], frozen=not a["training"])


def layer_norm(g: Builder, a: Arguments) -> Out:
    return g.emit("layer_norm", [a["input"], a["weight"], a["bias"]], axes=len(a["normalized_shape"]), eps=a["eps"])


def group_norm(g: Builder, a: Arguments) -> Out:
    return g.emit("group_norm", [a["input"], a["weight"], a["bias"]], groups=a["num_groups"], eps=a["eps"])


def instance_norm(g: Builder, a: Arguments) -> Out:
    if a["running_mean"] is not None:
        raise InputError("instance normalisation with running statistics is not supported")
    return g.emit("instance_norm", [a["input"], a["weight"], a["bias"]], eps=a["eps"])


def dropout(channels: bool) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        if not a["train"] or a["p"] == 0:
            return a["input"]
        return g.emit("dropout", [a["input"]], rate=a["p"], which=g.next_dropout(), channels=channels)

    return handler


# --- pooling --------------------------------------------------------------------------------------------------------


def max_pool2d(g: Builder, a: Arguments) -> Out:
    return g.emit(
        "max_pool2d",
        [a["self"]],
        kernel=_numbers(a["kernel_size"]),
        stride=_numbers(a["stride"]) or None,
        padding=_numbers(a["padding"]),
        dilation=_numbers(a["dilation"]),
        ceil=a["ceil_mode"],
    )


def avg_pool2d(g: Builder, a: Arguments) -> Out:
    if a.get("divisor_override") is not None:
        raise InputError("average pooling with a divisor of its own is not supported")
    return g.emit(
        "avg_pool2d",
        [a["self"]],
        kernel=_numbers(a["kernel_size"]),
        stride=_numbers(a["stride"]) or None,
        padding=_numbers(a["padding"]),
        ceil=a["ceil_mode"],
        count_padding=a["count_include_pad"],
    )


def avg_pool3d(g: Builder, a: Arguments) -> Out:
    """Only windows (k, 1, 1), which local response normalisation decomposes into: rows and columns become one axis."""
    x = a["self"]
    kernel, stride, padding = (_three(a[key]) for key in ("kernel_size", "stride", "padding"))
    if kernel[1:] != (1, 1) or (stride or kernel)[1:] != (1, 1) or padding[1:] != (0, 0) or len(x.shape) != 5:
        raise InputError("three-dimensional pooling is supported along the first of the three axes only")
    n, c, depth, height, width = x.shape
    flat = g.emit("reshape", [x], shape=(-1, c, depth, height * width))
    pooled = g.emit(
        "avg_pool2d",
        [flat],
        kernel=(kernel[0], 1),
        stride=((stride or kernel)[0], 1),
        padding=(padding[0], 0),
        ceil=a["ceil_mode"],
        count_padding=a["count_include_pad"],
    )
    from convlens.geometry import conv_size

    size = conv_size(depth, kernel[0], (stride or kernel)[0], padding[0], ceil=a["ceil_mode"])
    return g.emit("reshape", [pooled], shape=(-1, c, size, height, width))


def _three(value: Any) -> tuple[int, ...]:
    value = tuple(value)
    return value * 3 if len(value) == 1 else value


def adaptive(op: str) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out | tuple[Out, None]:
        size = list(a["output_size"])
        x = a["self"]
        size = [x.shape[2 + i] if s is None else s for i, s in enumerate(size)]
        out = g.emit(op, [x], size=tuple(size))
        return (out, None) if op == "adaptive_max_pool2d" else out

    return handler


# --- activations ----------------------------------------------------------------------------------------------------


def plain(op: str) -> Handler:
    """One tensor in, one out, no settings."""
    return lambda g, a: g.emit(op, [a["self"]])


def leaky_relu(g: Builder, a: Arguments) -> Out:
    return g.emit("leaky_relu", [a["self"]], slope=float(a["negative_slope"]))


def gelu(g: Builder, a: Arguments) -> Out:
    return g.emit("gelu", [a["self"]], approximate=a["approximate"])


def softmax(op: str) -> Handler:
    return lambda g, a: g.emit(op, [a["self"]], axis=a["dim"])


def hardtanh(g: Builder, a: Arguments) -> Out:
    return g.emit("hardtanh", [a["self"]], low=float(a["min_val"]), high=float(a["max_val"]))


def relu6(g: Builder, a: Arguments) -> Out:
    return g.emit("hardtanh", [a["self"]], low=0.0, high=6.0)


def hardsigmoid(g: Builder, a: Arguments) -> Out:
    shifted = g.emit("scale_shift", [a["self"]], shift=3.0)
    return g.emit("scale_shift", [g.emit("hardtanh", [shifted], low=0.0, high=6.0)], scale=1 / 6)


def hardswish(g: Builder, a: Arguments) -> Out:
    return g.emit("multiply", [a["self"], hardsigmoid(g, a)])


def clamp(g: Builder, a: Arguments) -> Out:
    for key in ("min", "max"):
        if isinstance(a.get(key), Out):
            raise InputError("clamping between tensors is not supported")
    low, high = a.get("min"), a.get("max")
    return g.emit("clamp", [a["self"]], low=low, high=high)


# --- arithmetic -----------------------------------------------------------------------------------------------------


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Out)


def _times(g: Builder, x: Out, factor: Any) -> Out:
    return x if factor == 1 else g.emit("scale_shift", [x], scale=float(factor))


def add(g: Builder, a: Arguments) -> Out:
    x, y, alpha = a["self"], a["other"], a.get("alpha", 1)
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], shift=float(y * alpha))
    return g.emit("add", [x, _times(g, y, alpha)])


def subtract(g: Builder, a: Arguments) -> Out:
    x, y, alpha = a["self"], a["other"], a.get("alpha", 1)
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], shift=-float(y * alpha))
    return g.emit("subtract", [x, _times(g, y, alpha)])


def rsub(g: Builder, a: Arguments) -> Out:
    x, y, alpha = a["self"], a["other"], a.get("alpha", 1)
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], scale=-float(alpha), shift=float(y))
    return g.emit("subtract", [y, _times(g, x, alpha)])


def multiply(g: Builder, a: Arguments) -> Out:
    x, y = a["self"], a["other"]
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], scale=float(y))
    return g.emit("multiply", [x, y])


def divide(g: Builder, a: Arguments) -> Out:
    x, y = a["self"], a["other"]
    if a.get("rounding_mode") is not None:
        raise InputError("division with rounding is not supported")
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], scale=1 / float(y))
    return g.emit("divide", [x, y])


def power(g: Builder, a: Arguments) -> Out:
    if not _is_tensor(a["self"]) or _is_tensor(a["exponent"]):
        raise InputError("powers are supported with a constant exponent only")
    return g.emit("power", [a["self"]], exponent=float(a["exponent"]))


def constant_power(exponent: float) -> Handler:
    return lambda g, a: g.emit("power", [a["self"]], exponent=exponent)


def negative(g: Builder, a: Arguments) -> Out:
    return g.emit("scale_shift", [a["self"]], scale=-1.0)


def reduction(op: str) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        axes = _numbers(a.get("dim")) or None
        return g.emit(op, [a["self"]], axis=axes, keepdims=bool(a.get("keepdim", False)))

    return handler


def matmul(left: str, right: str) -> Handler:
    return lambda g, a: g.emit("matmul", [a[left], a[right]])


def fill(g: Builder, a: Arguments) -> Out:
    return g.emit("scale_shift", [a["self"]], scale=0.0, shift=float(a["value"]))


def zero(g: Builder, a: Arguments) -> Out:
    return g.emit("scale_shift", [a["self"]], scale=0.0)


def copy(g: Builder, a: Arguments) -> Out:
    return g.emit("identity", [a["src"]])


# --- shapes ---------------------------------------------------------------------------------------------------------


def flatten(g: Builder, a: Arguments) -> Out:
    return g.emit("flatten", [a["self"]], start=a["start_dim"], end=a["end_dim"])


def view(g: Builder, a: Arguments) -> Out:
    shape = a["size"] if "size" in a else a["shape"]
    return g.emit("reshape", [a["self"]], shape=_numbers(shape))


def permute(g: Builder, a: Arguments) -> Out:
    return g.emit("permute", [a["self"]], axes=_numbers(a["dims"]))


def transpose(g: Builder, a: Arguments) -> Out:
    axes = list(range(len(a["self"].shape)))
    i, j = a.get("dim0", 0), a.get("dim1", -1)
    if axes:
        axes[i], axes[j] = axes[j], axes[i]
    return g.emit("permute", [a["self"]], axes=tuple(axes))


def expand(g: Builder, a: Arguments) -> Out:
    return g.emit("broadcast", [a["self"]], shape=_numbers(a["size"]))


def squeeze(g: Builder, a: Arguments) -> Out:
    shape = a["self"].shape
    dims = a.get("dim")
    dims = range(len(shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {d % len(shape) for d in dims if shape[d % len(shape)] == 1}
    return _take(g, a["self"], tuple(0 if i in gone else slice(None) for i in range(len(shape))))


def unsqueeze(g: Builder, a: Arguments) -> Out:
    place = a["dim"] % (len(a["self"].shape) + 1)
    return _take(g, a["self"], (*(slice(None),) * place, None))


def select(g: Builder, a: Arguments) -> Out:
    place = a["dim"] % len(a["self"].shape)
    return _take(g, a["self"], (*(slice(None),) * place, a["index"]))


def slice_(g: Builder, a: Arguments) -> Out:
    start, stop, step = a["start"], a["end"], a["step"]
    if any(isinstance(v, (Ref, Out)) for v in (start, stop, step)):
        raise InputError("a slice whose limits depend on the batch is not supported")
    stop = None if stop is None or stop >= 2**62 else stop
    start = None if start == 0 else start
    if (start, stop, step) == (None, None, 1):
        return a["self"]
    place = a["dim"] % len(a["self"].shape)
    return _take(g, a["self"], (*(slice(None),) * place, slice(start, stop, step)))


def _take(g: Builder, x: Out, index: tuple[Any, ...]) -> Out:
    return g.emit("take", [x], index=index)


def split(g: Builder, a: Arguments) -> tuple[Out, ...]:
    """Parts of the given size, or of the given sizes."""
    x, axis = a["self"], a["dim"] % len(a["self"].shape)
    size, parts = x.shape[axis], a["split_size"] if "split_size" in a else a["split_sizes"]
    if size is None:
        raise InputError("splitting the batch is not supported")
    if isinstance(parts, int):
        parts = [min(parts, size - start) for start in range(0, size, parts)]
    starts = [sum(parts[:i]) for i in range(len(parts))]
    lead = (slice(None),) * axis
    return tuple(_take(g, x, (*lead, slice(s, s + n))) for s, n in zip(starts, parts, strict=True))


def chunk(g: Builder, a: Arguments) -> tuple[Out, ...]:
    size = a["self"].shape[a["dim"]]
    if size is None:
        raise InputError("splitting the batch is not supported")
    return split(g, {"self": a["self"], "dim": a["dim"], "split_size": -(-size // a["chunks"])})


def concat(g: Builder, a: Arguments) -> Out:
    return g.emit("concat", list(a["tensors"]), axis=a["dim"])


def stack(g: Builder, a: Arguments) -> Out:
    axis = a["dim"] % (len(a["tensors"][0].shape) + 1)
    return g.emit("concat", [unsqueeze(g, {"self": t, "dim": axis}) for t in a["tensors"]], axis=axis)


def pad(g: Builder, a: Arguments) -> Out:
    flat = list(a["pad"])
    pairs = tuple((flat[i], flat[i + 1]) for i in range(len(flat) - 2, -1, -2))
    return g.emit("pad", [a["self"]], padding=pairs, value=float(a.get("value") or 0), mode=a.get("mode", "constant"))


def upsample_nearest(g: Builder, a: Arguments) -> Out:
    return g.emit("upsample_nearest", [_image(a)], **_scaling(a))


def upsample_bilinear(g: Builder, a: Arguments) -> Out:
    return g.emit("upsample_bilinear", [_image(a)], **_scaling(a), align_corners=a["align_corners"])


def _image(a: Arguments) -> Out:
    return a["input"] if "input" in a else a["self"]


def _scaling(a: Arguments) -> dict[str, Any]:
    if a.get("output_size") is not None:
        return {"size": _numbers(a["output_size"])}
    return {"scale": _numbers(a["scale_factors"])}


def same(g: Builder, a: Arguments) -> Out:
    """Operations that leave the numbers as they are."""
    return a["self"] if "self" in a else a["input"]


def clone(g: Builder, a: Arguments) -> Out:
    return g.emit("identity", [same(g, a)])


def detach(g: Builder, a: Arguments) -> Out:
    return g.emit("stop_gradient", [a["self"]])


HANDLERS: dict[str, Handler] = {
    "conv1d": conv("conv1d"),
    "conv2d": conv("conv2d"),
    "conv_transpose2d": conv_transpose2d,
    "linear": linear,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "dropout": dropout(channels=False),
    "feature_dropout": dropout(channels=True),
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "avg_pool3d": avg_pool3d,
    "adaptive_avg_pool2d": adaptive("adaptive_avg_pool2d"),
    "adaptive_max_pool2d": adaptive("adaptive_max_pool2d"),
    **{name: plain(name) for name in ("relu", "sigmoid", "tanh", "silu", "exp", "log")},
    "abs": plain("absolute"),
    "leaky_relu": leaky_relu,
    "gelu": gelu,
    "softmax": softmax("softmax"),
    "log_softmax": softmax("log_softmax"),
    "hardtanh": hardtanh,
    "relu6": relu6,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "clamp": clamp,
    "clamp_min": clamp,
    "clamp_max": clamp,
    "add": add,
    "sub": subtract,
    "subtract": subtract,
    "rsub": rsub,
    "mul": multiply,
    "multiply": multiply,
    "div": divide,
    "divide": divide,
    "true_divide": divide,
    "pow": power,
    "sqrt": constant_power(0.5),
    "rsqrt": constant_power(-0.5),
    "reciprocal": constant_power(-1.0),
    "square": constant_power(2.0),
    "neg": negative,
    "mean": reduction("mean"),
    "sum": reduction("total"),
    "matmul": matmul("self", "other"),
    "mm": matmul("self", "mat2"),
    "bmm": matmul("self", "mat2"),
    "fill": fill,
    "zero": zero,
    "copy": copy,
    "flatten": flatten,
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), view),
    "permute": permute,
    **dict.fromkeys(("transpose", "t", "numpy_T", "swapaxes"), transpose),
    "expand": expand,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "select": select,
    "slice": slice_,
    **dict.fromkeys(("split", "split_with_sizes"), split),
    "chunk": chunk,
    **dict.fromkeys(("cat", "concat"), concat),
    "stack": stack,
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    "upsample_nearest2d": upsample_nearest,
    "upsample_bilinear2d": upsample_bilinear,
    **dict.fromkeys(("contiguous", "to", "_to_copy", "alias", "type_as", "identity", "dropout_identity"), same),
    **dict.fromkeys(("clone", "lift_fresh_copy"), clone),
    "detach": detach,
}
