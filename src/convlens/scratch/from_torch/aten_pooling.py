"""Pooling of an exported program as nodes of a graph; see `aten`."""

from collections.abc import Sequence
from typing import Any

from convlens.base.errors import InputError
from convlens.geometry import conv_size
from convlens.scratch.from_torch.aten_shapes import squeezed, unsqueezed
from convlens.scratch.from_torch.translation import Arguments, Builder, Handler, Out, numbers


def maximum(axes: int, *, indices: bool = False) -> Handler:
    """Along one axis (images of one row) or two."""

    def handler(g: Builder, a: Arguments) -> Any:
        options = _window(a, axes)
        options["dilation"] = _pair(a["dilation"], axes, 1)
        out = _as_images(g, a["self"], axes, lambda x: g.emit("max_pool2d", [x], **options))
        return (out, _indices(g, "max_pool2d", a["self"], axes, options)) if indices else out

    return handler


def average(axes: int) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        options = _window(a, axes)
        options |= {"count_padding": a["count_include_pad"], "divisor": a.get("divisor_override")}
        return _as_images(g, a["self"], axes, lambda x: g.emit("avg_pool2d", [x], **options))

    return handler


def avg_pool3d(g: Builder, a: Arguments) -> Out:
    """Only windows (k, 1, 1), which local response normalization decomposes into: rows and columns become one axis."""
    x = a["self"]
    kernel, stride, padding = (_three(a[key]) for key in ("kernel_size", "stride", "padding"))
    if kernel[1:] != (1, 1) or (stride or kernel)[1:] != (1, 1) or padding[1:] != (0, 0) or len(x.shape) != 5:
        raise InputError("three-dimensional pooling is supported along the first of the three axes only")
    if a.get("divisor_override") is not None:
        raise InputError("three-dimensional pooling with a divisor of its own is not supported")
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


def adaptive(op: str, axes: int) -> Handler:
    """Windows that divide the axis as evenly as they can; a size of None keeps the axis."""

    def handler(g: Builder, a: Arguments) -> Any:
        given, x = a["output_size"], a["self"]
        size = list(given) if isinstance(given, (list, tuple)) else [given] * axes
        size = [1] * (2 - axes) + [x.shape[len(x.shape) - axes + i] if s is None else s for i, s in enumerate(size)]
        out = _as_images(g, x, axes, lambda image: g.emit(op, [image], size=tuple(size)))
        return (out, _indices(g, op, x, axes, {"size": tuple(size)})) if op == "adaptive_max_pool2d" else out

    return handler


def _indices(g: Builder, op: str, x: Out, axes: int, options: dict[str, Any]) -> Out | None:
    """The places of the maxima, if somebody wants them."""
    if not g.wants(1):
        return None
    return _as_images(g, x, axes, lambda image: g.emit(f"{op}_indices", [image], **options))


def _as_images(g: Builder, x: Out, axes: int, pool: Any) -> Out:
    """Pools an array [N, C, H, W], or [N, C, L] as images of one row."""
    if len(x.shape) != axes + 2:
        raise InputError(f"an input of {len(x.shape)} axes is not supported: pooling wants a batch")
    return pool(x) if axes == 2 else squeezed(g, pool(unsqueezed(g, x, 2, axes + 2)), 2)


def _window(a: Arguments, axes: int) -> dict[str, Any]:
    kernel = _pair(a["kernel_size"], axes, 1)
    stride = numbers(a["stride"])
    return {
        "kernel": kernel,
        "stride": _pair(stride, axes, 1) if stride not in (None, ()) else None,
        "padding": _pair(a["padding"], axes, 0),
        "ceil": a["ceil_mode"],
    }


def _pair(value: Any, axes: int, other: int) -> tuple[int, ...]:
    """One number for each of the two axes of an image; for one row, `other` for the axis that it has not."""
    given: Sequence[int] = value if isinstance(value, (list, tuple)) else [value]
    given = list(given) * axes if len(given) == 1 else list(given)
    return tuple([other] * (2 - axes) + list(given))


def _three(value: Any) -> tuple[int, ...]:
    value = tuple(value)
    return value * 3 if len(value) == 1 else value
