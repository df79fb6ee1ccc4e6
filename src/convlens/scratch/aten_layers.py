"""Layers, activations and arithmetic of an exported program as nodes of a graph; see `aten`."""

from typing import Any

from convlens.base.errors import InputError
from convlens.geometry import conv_size
from convlens.scratch.translation import Arguments, Builder, Handler, Out, numbers


def conv(op: str) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        settings = {key: numbers(a[key]) for key in ("stride", "padding", "dilation")}
        return g.emit(op, [a["input"], a["weight"], a["bias"]], groups=a["groups"], **settings)

    return handler


def conv_transpose2d(g: Builder, a: Arguments) -> Out:
    keys = ("stride", "padding", "output_padding", "dilation")
    settings = {key: numbers(a[key]) for key in keys}
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
        return g.emit(
            "dropout", [a["input"]], rate=a["p"], which=g.next_dropout(), channels=channels, always=not g.training
        )

    return handler


# --- pooling --------------------------------------------------------------------------------------------------------


def max_pool2d(g: Builder, a: Arguments) -> Out:
    return g.emit(
        "max_pool2d",
        [a["self"]],
        kernel=numbers(a["kernel_size"]),
        stride=numbers(a["stride"]) or None,
        padding=numbers(a["padding"]),
        dilation=numbers(a["dilation"]),
        ceil=a["ceil_mode"],
    )


def avg_pool2d(g: Builder, a: Arguments) -> Out:
    if a.get("divisor_override") is not None:
        raise InputError("average pooling with a divisor of its own is not supported")
    return g.emit(
        "avg_pool2d",
        [a["self"]],
        kernel=numbers(a["kernel_size"]),
        stride=numbers(a["stride"]) or None,
        padding=numbers(a["padding"]),
        ceil=a["ceil_mode"],
        count_padding=a["count_include_pad"],
    )


def avg_pool3d(g: Builder, a: Arguments) -> Out:
    """Only windows (k, 1, 1), which local response normalisation decomposes into: rows and columns become one axis."""
    x = a["self"]
    kernel, stride, padding = (_three(a[key]) for key in ("kernel_size", "stride", "padding"))
    if kernel[1:] != (1, 1) or (stride or kernel)[1:] != (1, 1) or padding[1:] != (0, 0) or len(x.shape) != 5:
        raise InputError("three-dimensional pooling is supported along the first of the three axes only")
    _, c, depth, height, width = x.shape
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
        axes = numbers(a.get("dim")) or None
        return g.emit(op, [a["self"]], axis=axes, keepdims=bool(a.get("keepdim", False)))

    return handler


def matmul(left: str, right: str) -> Handler:
    return lambda g, a: g.emit("matmul", [a[left], a[right]])


def fill(g: Builder, a: Arguments) -> Out:
    if _is_tensor(a["value"]):
        return g.emit("put", [a["self"], a["value"]], index=(Ellipsis,))
    return g.emit("scale_shift", [a["self"]], scale=0.0, shift=float(a["value"]))


def zero(g: Builder, a: Arguments) -> Out:
    return g.emit("scale_shift", [a["self"]], scale=0.0)


def copy(g: Builder, a: Arguments) -> Out:
    return g.emit("identity", [a["src"]])
