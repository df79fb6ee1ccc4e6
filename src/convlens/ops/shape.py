"""Operations that move numbers without changing them: flatten, reshape, permute, concatenate, slice, pad, broadcast,
pixel shuffle.

Forward results may be views of their inputs; nothing is ever written into them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import real, resolve_axes, resolve_axis, whole
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_float, as_floats, check_same_shape, unbroadcast

Index = tuple[int | slice | None, ...]


class ShapeGradients(NamedTuple):
    """Gradient with respect to the input, of its shape."""

    x: Array


class ConcatGradients(NamedTuple):
    """Gradients with respect to the parts, in their order."""

    xs: list[Array]


class PutGradients(NamedTuple):
    """Gradients with respect to both arrays."""

    x: Array
    value: Array


def flatten(x: ArrayLike, *, start: int = 1, end: int = -1) -> Array:
    """Joins the axes `start` to `end` into one, the last running fastest: (N, C, H, W) -> (N, C * H * W)."""
    x = as_float("x", x)
    first, last = resolve_axis("start", start, x.ndim), resolve_axis("end", end, x.ndim)
    if first > last:
        raise InputError(f"start: {start}, expected an axis not after end = {end} of an array of shape {x.shape}")
    joined = int(np.prod(x.shape[first : last + 1]))
    return x.reshape(*x.shape[:first], joined, *x.shape[last + 1 :])


def flatten_backward(grad: ArrayLike, x: ArrayLike, *, start: int = 1, end: int = -1) -> ShapeGradients:
    """The gradient in the shape of the input."""
    return reshape_backward(grad, x)


def reshape(x: ArrayLike, *, shape: Sequence[int]) -> Array:
    """The same numbers in row-major order in another shape; one size may be -1."""
    x = as_float("x", x)
    try:
        return x.reshape(tuple(shape))
    except (ValueError, TypeError):
        raise InputError(f"shape: {tuple(shape)}, expected one of {x.size} elements as x has shape {x.shape}") from None


def reshape_backward(grad: ArrayLike, x: ArrayLike, *, shape: Sequence[int] = ()) -> ShapeGradients:
    """The gradient in the shape of the input."""
    grad, x = as_floats(grad=grad, x=x)
    if grad.size != x.size:
        raise InputError(f"grad: shape {grad.shape}, expected {x.size} elements as x has shape {x.shape}")
    return ShapeGradients(grad.reshape(x.shape))


def permute(x: ArrayLike, *, axes: Sequence[int]) -> Array:
    """Axis i of the result is axis axes[i] of x."""
    x = as_float("x", x)
    return x.transpose(_order(axes, x))


def permute_backward(grad: ArrayLike, x: ArrayLike, *, axes: Sequence[int]) -> ShapeGradients:
    """The inverse permutation."""
    grad, x = as_floats(grad=grad, x=x)
    order = _order(axes, x)
    check_same_shape(grad, tuple(x.shape[a] for a in order))
    return ShapeGradients(grad.transpose([order.index(a) for a in range(x.ndim)]))


def _order(axes: Sequence[int], x: Array) -> tuple[int, ...]:
    """The axes counted from the front, each of x's once."""
    if not isinstance(axes, list | tuple) or len(axes) != x.ndim:
        raise InputError(f"axes: {axes}, expected each of the {x.ndim} axes of x once")
    return resolve_axes("axes", tuple(axes), x.ndim)


def broadcast(x: ArrayLike, *, shape: Sequence[int]) -> Array:
    """x repeated to `shape` by NumPy's rules; -1 keeps the size of that axis."""
    x = as_float("x", x)
    new = len(shape) - x.ndim  # axes that come in front of those of x
    sizes = tuple(x.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(shape))
    try:
        return np.broadcast_to(x, sizes)
    except ValueError:
        raise InputError(f"shape: {tuple(shape)}, expected one that {x.shape}, the shape of x, repeats to") from None


def broadcast_backward(grad: ArrayLike, x: ArrayLike, *, shape: Sequence[int] = ()) -> ShapeGradients:
    """The sum over all copies."""
    grad, x = as_floats(grad=grad, x=x)
    try:
        np.broadcast_to(x, grad.shape)
    except ValueError:
        raise InputError(f"grad: shape {grad.shape}, expected one that {x.shape}, the shape of x, repeats to") from None
    return ShapeGradients(unbroadcast(grad, x.shape))


def concat(xs: Sequence[ArrayLike], *, axis: int = 1) -> Array:
    """Joins arrays along an existing axis: the end of an Inception module, the memory of a dense block."""
    parts, axis = _parts(xs, axis)
    return np.concatenate(parts, axis=axis)


def concat_backward(grad: ArrayLike, xs: Sequence[ArrayLike], *, axis: int = 1) -> ConcatGradients:
    """The gradient cut where the parts met."""
    parts, axis = _parts(xs, axis)
    grad, *parts = as_floats(grad=grad, **{f"xs[{i}]": part for i, part in enumerate(parts)})
    ends = np.cumsum([part.shape[axis] for part in parts])
    check_same_shape(grad, (*parts[0].shape[:axis], int(ends[-1]), *parts[0].shape[axis + 1 :]))
    return ConcatGradients(np.split(grad, ends[:-1], axis=axis))


def _parts(xs: Sequence[ArrayLike], axis: int) -> tuple[list[Array], int]:
    """The arrays in one type, and the axis counted from the front."""
    if not len(xs):
        raise InputError("xs: no arrays, expected at least one")
    parts = as_floats(**{f"xs[{i}]": x for i, x in enumerate(xs)})
    axis = resolve_axis("axis", axis, parts[0].ndim)
    for i, part in enumerate(parts):
        if part.ndim == 0 or _without(part.shape, axis) != _without(parts[0].shape, axis):
            raise InputError(f"xs[{i}]: shape {part.shape}, expected {parts[0].shape} but for axis {axis}")
    return list(parts), axis


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def take(x: ArrayLike, *, index: Index) -> Array:
    """x[index] with integers and slices (basic indexing), such as one channel or every second row."""
    x = as_float("x", x)
    return np.asarray(x[_inside(x, index)])


def take_backward(grad: ArrayLike, x: ArrayLike, *, index: Index) -> ShapeGradients:
    """Zero, but for the gradient at the cells that were taken."""
    grad, x = as_floats(grad=grad, x=x)
    index = _inside(x, index)
    check_same_shape(grad, np.shape(x[index]))
    gx = np.zeros_like(x)
    gx[index] = grad
    return ShapeGradients(gx)


def _inside(x: Array, index: Index) -> Index:
    """The index as a tuple, if it lies inside x."""
    try:
        x[tuple(index)]
    except (IndexError, TypeError, ValueError):
        raise InputError(f"index: {index}, expected one inside the shape {x.shape} of x") from None
    return tuple(index)


def put(x: ArrayLike, value: ArrayLike, *, index: Index) -> Array:
    """A copy of x in which the cells x[index] hold `value` (broadcast): what `x[index] = value` does in place."""
    x, value = as_floats(x=x, value=value)
    y = x.copy()
    try:
        y[tuple(index)] = value
    except (IndexError, ValueError, TypeError):
        raise InputError(f"value: shape {value.shape} does not fit x[{index}] of an x of shape {x.shape}") from None
    return y


def put_backward(grad: ArrayLike, x: ArrayLike, value: ArrayLike, *, index: Index) -> PutGradients:
    """x receives the gradient but for the overwritten cells, `value` that of those cells."""
    grad, x, value = as_floats(grad=grad, x=x, value=value)
    check_same_shape(grad, put(x, value, index=index).shape)
    gx = grad.copy()
    gx[tuple(index)] = 0
    return PutGradients(gx, unbroadcast(np.asarray(grad[tuple(index)]), value.shape))


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: ArrayLike, *, padding: Sequence[tuple[int, int]], value: float = 0.0, mode: str = "constant") -> Array:
    """Adds cells around the last axes.

    Args:
        x: any shape.
        padding: (before, after) for each of the last `len(padding)` axes, in the order of the axes; with mode
            "constant" negative numbers cut off.
        value: what the new cells hold in mode "constant".
        mode: "constant", "reflect" (without the edge), "replicate" or "circular".
    """
    x = as_float("x", x)
    widths = _widths(x, padding, mode)
    cut = x[tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(widths, x.shape, strict=True))]
    grown = [(max(b, 0), max(a, 0)) for b, a in widths]
    if mode == "constant":
        return np.pad(cut, grown, constant_values=real("value", value))
    return np.pad(cut, grown, mode=_PAD_MODES[mode])  # type: ignore[call-overload]


def pad_backward(
    grad: ArrayLike, x: ArrayLike, *, padding: Sequence[tuple[int, int]], value: float = 0.0, mode: str = "constant"
) -> ShapeGradients:
    """The gradient without the border, plus what the border's cells give back to those that they were copied from."""
    grad, x = as_floats(grad=grad, x=x)
    widths = _widths(x, padding, mode)
    check_same_shape(grad, tuple(n + b + a for (b, a), n in zip(widths, x.shape, strict=True)))
    for axis, (before, after) in enumerate(widths):
        if not (before or after):
            continue
        n = x.shape[axis]
        if mode == "constant":
            moved = np.zeros((n, *_without(grad.shape, axis)), grad.dtype)
            lo, hi = max(-before, 0), n - max(-after, 0)
            moved[lo:hi] = np.moveaxis(grad, axis, 0)[lo + before : hi + before]
        else:
            source = np.pad(np.arange(n), (before, after), mode=_PAD_MODES[mode])  # type: ignore[call-overload]
            moved = np.zeros((n, *_without(grad.shape, axis)), grad.dtype)
            np.add.at(moved, source, np.moveaxis(grad, axis, 0))
        grad = np.moveaxis(moved, 0, axis)
    return ShapeGradients(grad)


def _widths(x: Array, padding: Sequence[tuple[int, int]], mode: str) -> list[tuple[int, int]]:
    """(before, after) for every axis of x."""
    if mode not in _PAD_MODES:
        raise InputError(f"mode: {mode!r}, expected one of {', '.join(_PAD_MODES)}")
    if len(padding) > x.ndim or any(np.shape(p) != (2,) for p in padding):
        raise InputError(f"padding: {padding}, expected pairs (before, after) for at most the {x.ndim} axes of x")
    pairs = [(whole("padding", b, -(2**62)), whole("padding", a, -(2**62))) for b, a in padding]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    for (before, after), n in zip(widths, x.shape, strict=True):
        if mode != "constant" and min(before, after) < 0:
            raise InputError(f"padding: {padding}, expected no negative numbers with mode {mode!r}")
        unknown = mode == "reflect" and max(before, after) >= n > 0  # beyond the reflected cells
        nothing = mode != "constant" and n == 0 and before + after > 0  # no cell to repeat
        if n + before + after < 0 or unknown or nothing:
            raise InputError(f"padding: {padding} does not fit an input of shape {x.shape} with mode {mode!r}")
    return widths


def pixel_shuffle(x: ArrayLike, *, factor: int) -> Array:
    """Channels become pixels: (N, C * r * r, H, W) -> (N, C, H * r, W * r) with r = `factor`.

    y[n, c, h r + i, w r + j] = x[n, c r r + i r + j, h, w]. Source: Shi et al., "Real-time single image and video
    super-resolution using an efficient sub-pixel convolutional neural network", 2016.
    """
    x, r = _image(x), whole("factor", factor, 1)
    n, c, h, w = x.shape
    if c % (r * r):
        raise InputError(f"x: {c} channels, expected a multiple of {r * r} for factor {r}")
    return x.reshape(n, c // (r * r), r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // (r * r), h * r, w * r)


def pixel_shuffle_backward(grad: ArrayLike, x: ArrayLike, *, factor: int) -> ShapeGradients:
    """The gradient's pixels become channels again."""
    grad, x = as_floats(grad=grad, x=x)
    check_same_shape(grad, pixel_shuffle(x, factor=factor).shape)
    return ShapeGradients(pixel_unshuffle(grad, factor=factor))


def pixel_unshuffle(x: ArrayLike, *, factor: int) -> Array:
    """Pixels become channels: (N, C, H * r, W * r) -> (N, C * r * r, H, W), the inverse of `pixel_shuffle`."""
    x, r = _image(x), whole("factor", factor, 1)
    n, c, h, w = x.shape
    if h % r or w % r:
        raise InputError(f"x: {h} x {w} pixels, expected multiples of the factor {r}")
    split = x.reshape(n, c, h // r, r, w // r, r)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * r * r, h // r, w // r)


def pixel_unshuffle_backward(grad: ArrayLike, x: ArrayLike, *, factor: int) -> ShapeGradients:
    """The gradient's channels become pixels again."""
    grad, x = as_floats(grad=grad, x=x)
    check_same_shape(grad, pixel_unshuffle(x, factor=factor).shape)
    return ShapeGradients(pixel_shuffle(grad, factor=factor))


def _image(x: ArrayLike) -> Array:
    x = as_float("x", x)
    if x.ndim != 4:
        raise InputError(f"x: shape {x.shape}, expected four axes (N, C, H, W)")
    return x
