"""Layers, activations and arithmetic of an exported program as nodes of a graph; see `aten`."""

from math import sqrt

import numpy as np

from convlens.base.errors import InputError
from convlens.scratch.from_torch.aten_shapes import squeezed, unsqueezed
from convlens.scratch.from_torch.translation import Arguments, Builder, Handler, Out, numbers


def conv(op: str) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        options = {key: numbers(a[key]) for key in ("stride", "padding", "dilation")}
        return g.emit(op, [a["input"], a["weight"], a["bias"]], groups=a["groups"], **options)

    return handler


def conv_transpose(axes: int) -> Handler:
    """Along two axes, or along one as images of one row."""

    def handler(g: Builder, a: Arguments) -> Out:
        options = {}
        for key, other in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1)):
            given = list(a[key]) if isinstance(a[key], (list, tuple)) else [a[key]]
            options[key] = tuple([other] * (2 - axes) + (given * axes if len(given) == 1 else given))
        x, w = a["input"], a["weight"]
        if axes == 1:
            x, w = unsqueezed(g, x, 2, 4), unsqueezed(g, w, 2, 4)
        out = g.emit("conv_transpose2d", [x, w, a["bias"]], groups=a["groups"], **options)
        return out if axes == 2 else squeezed(g, out, 2)

    return handler


def linear(g: Builder, a: Arguments) -> Out:
    return g.emit("linear", [a["input"], a["weight"], a["bias"]])


def batch_norm(g: Builder, a: Arguments) -> Out:
    """A layer with `momentum=None` gets the count of its batches as sixth input."""
    arrays = [a["input"], a["weight"], a["bias"], a["running_mean"], a["running_var"]]
    count = g.count_beside(a["running_mean"]) if a["running_mean"] is not None else None
    if count is not None:
        arrays.append(count)
    momentum = a["momentum"] if count is None else None
    return g.emit("batch_norm", arrays, momentum=momentum, eps=a["eps"], frozen=not a["training"])


def layer_norm(g: Builder, a: Arguments) -> Out:
    return g.emit("layer_norm", [a["input"], a["weight"], a["bias"]], axes=len(a["normalized_shape"]), eps=a["eps"])


def group_norm(g: Builder, a: Arguments) -> Out:
    return g.emit("group_norm", [a["input"], a["weight"], a["bias"]], groups=a["num_groups"], eps=a["eps"])


def instance_norm(g: Builder, a: Arguments) -> Out:
    """With running statistics: in training its own and an update, in inference the running ones."""
    arrays = [a["input"], a["weight"], a["bias"]]
    if a["running_mean"] is None:
        return g.emit("instance_norm", arrays, eps=a["eps"])
    arrays += [a["running_mean"], a["running_var"]]
    if not a["use_input_stats"]:
        return g.emit("batch_norm", arrays, momentum=a["momentum"], eps=a["eps"], frozen=True)
    return g.emit("running_instance_norm", arrays, momentum=a["momentum"], eps=a["eps"])


def rms_norm(g: Builder, a: Arguments) -> Out:
    """x / sqrt(mean(x^2) + eps) over the last axes, times a weight (Zhang and Sennrich, 2019)."""
    x = a["input"]
    eps = a["eps"] if a["eps"] is not None else float(np.finfo(x.dtype or "float32").eps)
    axes = tuple(range(-len(a["normalized_shape"]), 0))
    square = g.emit("mean", [g.emit("power", [x], exponent=2.0)], axis=axes, keepdims=True)
    out = g.emit("multiply", [x, g.emit("power", [g.emit("scale_shift", [square], shift=eps)], exponent=-0.5)])
    return out if a["weight"] is None else g.emit("multiply", [out, a["weight"]])


def weight_norm(g: Builder, a: Arguments) -> Out:
    """g * v / |v|, the norm over all axes but one (Salimans and Kingma, 2016)."""
    v, axes = a["v"], None if a["dim"] == -1 else tuple(i for i in range(len(a["v"].shape)) if i != a["dim"])
    squares = g.emit("total", [g.emit("power", [v], exponent=2.0)], axis=axes, keepdims=axes is not None)
    return g.emit("multiply", [v, g.emit("divide", [a["g"], g.emit("root", [squares])])])


def dropout(channels: bool = False, alpha: bool = False) -> Handler:
    """Single numbers or whole channels; "alpha" keeps mean and variance of an input that SELU made."""

    def handler(g: Builder, a: Arguments) -> Out:
        x = a["self"] if "self" in a else a["input"]  # in place or not
        if not a["train"] or a["p"] == 0:
            return x
        return _dropped(g, x, a["p"], channels=channels, alpha=alpha)

    return handler


def _dropped(g: Builder, x: Out, rate: float, *, channels: bool = False, alpha: bool = False) -> Out:
    which = g.next_draw() if rate < 1 else 0  # PyTorch draws nothing where all is dropped
    op = "alpha_dropout" if alpha and rate < 1 else "dropout"
    return g.emit(op, [x], rate=rate, which=which, channels=channels, always=not g.training)


def attention(g: Builder, a: Arguments) -> Out:
    """softmax(q k^T * scale + mask) v over the last two axes."""
    q, k, v, mask = a["query"], a["key"], a["value"], a["attn_mask"]
    if a.get("enable_gqa"):
        raise InputError("attention with grouped queries is not supported")
    scale = 1 / sqrt(q.shape[-1] or 1) if a["scale"] is None else a["scale"]
    axes = (*range(len(k.shape) - 2), len(k.shape) - 1, len(k.shape) - 2)
    scores = g.emit("matmul", [g.emit("scale_shift", [q], scale=scale), g.emit("permute", [k], axes=axes)])
    if a["is_causal"]:
        mask = g.constant(np.tri(q.shape[-2], k.shape[-2], dtype=bool))
        mask = Out(mask.position, mask.shape, "bool")
    if mask is not None and mask.dtype == "bool":
        scores = g.emit("where", [mask, scores, g.constant(np.asarray(-np.inf, q.dtype or "float32"))])
    elif mask is not None:
        scores = g.emit("add", [scores, mask])
    weights = g.emit("softmax", [scores], axis=-1)
    if a["dropout_p"]:
        weights = _dropped(g, weights, a["dropout_p"])
    return g.emit("matmul", [weights, v])


# --- activations ----------------------------------------------------------------------------------------------------


def plain(op: str) -> Handler:
    """One tensor in, one out, no options."""
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
    """min(max(x + 3, 0), 6) / 6."""
    return g.emit("hardsigmoid", [a["self"]], slope=1 / 6)


def hardswish(g: Builder, a: Arguments) -> Out:
    """x * min(max(x + 3, 0), 6) / 6."""
    shifted = g.emit("scale_shift", [a["self"]], shift=3.0)
    gate = g.emit("scale_shift", [g.emit("hardtanh", [shifted], low=0.0, high=6.0)], scale=1 / 6)
    return g.emit("multiply", [a["self"], gate])


def elu(g: Builder, a: Arguments) -> Out:
    if a["scale"] != 1 or a["input_scale"] != 1:
        raise InputError("an ELU that is scaled is not supported")
    return g.emit("elu", [a["self"]], alpha=float(a["alpha"]))


def celu(g: Builder, a: Arguments) -> Out:
    alpha = float(a["alpha"])
    return g.emit("celu", [a["self"]], alpha=alpha, inverse=1 / alpha)


def prelu(g: Builder, a: Arguments) -> Out:
    return g.emit("prelu", [a["self"], a["weight"]])


def softplus(g: Builder, a: Arguments) -> Out:
    return g.emit("softplus", [a["self"]], beta=float(a["beta"]), threshold=float(a["threshold"]))


def glu(g: Builder, a: Arguments) -> Out:
    return g.emit("glu", [a["self"]], axis=a["dim"])


def threshold(g: Builder, a: Arguments) -> Out:
    return g.emit("threshold", [a["self"]], threshold=float(a["threshold"]), value=float(a["value"]))
