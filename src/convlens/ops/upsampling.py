"""Resizing by nearest neighbor, by linear and by cubic interpolation.

All treat the spatial axes alike and one after the other. Along an axis each of m output cells is a weighted sum of a
few of the n input cells: of one (nearest), two (linear) or four (cubic). So each variant is a table `cells` (m, taps)
of input cells and a table `weights` (m, taps); backward, each cell gives its gradient to the cells that it read, with
the same weights.

Where on the input axis the center of output cell i lies:

    by size:   (i + 1/2) n / m - 1/2     exactly, in integers
    by scale:  (i + 1/2) / scale - 1/2

Nearest neighbor takes cell floor(i n / m), or floor(i / scale), which favors the cells before; `exact` takes the cell
in which the center lies. Source: PyTorch's `interpolate`; Keys, "Cubic convolution interpolation", 1981.

Differences from PyTorch: nearest by size is exact here, while PyTorch rounds n / m to float32 and so takes the cell
before for about one pair of sizes in fifty, such as from 2 cells to 82. Nearest by scale is as PyTorch calculates for
float32: 1 / scale rounded to float32, and for images, where the size stays or doubles, a copy or i // 2. For float64
PyTorch rounds to one or the other depending on the memory layout; this matters only where i / scale is an integer.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import per_axis, real
from convlens.ops._types import Array, ArrayLike, Integers
from convlens.ops.arrays import as_float, as_floats, check_same_shape

Size = int | tuple[int, ...]
Scale = float | tuple[float, ...]


class UpsampleGradients(NamedTuple):
    """Gradient with respect to the input, of its shape."""

    x: Array


class Taps(NamedTuple):
    """What the m output cells of an axis read: input cells and their weights, both (m, taps)."""

    cells: Integers
    weights: Array


def upsample_nearest(
    x: ArrayLike, *, size: Size | None = None, scale: Scale | None = None, exact: bool = False
) -> Array:
    """Each output cell copies one input cell.

    Args:
        x: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        size: output sizes, one number or one for each spatial axis; or
        scale: factor, or one for each; the output has floor(n * scale) cells.
        exact: take the cell in which the output cell's center lies (PyTorch's "nearest-exact", Pillow, scikit-image),
            not the one in which its start lies (PyTorch's "nearest", OpenCV).
    """
    x = as_float("x", x)
    return _resized(x, size, scale, partial(_nearest, exact=exact, image=x.ndim == 4))


def upsample_nearest_backward(
    grad: ArrayLike, x: ArrayLike, *, size: Size | None = None, scale: Scale | None = None, exact: bool = False
) -> UpsampleGradients:
    """Each input cell receives the sum over its copies."""
    x = as_float("x", x)
    return _backward(grad, x, size, scale, partial(_nearest, exact=exact, image=x.ndim == 4))


def upsample_bilinear(
    x: ArrayLike, *, size: Size | None = None, scale: Scale | None = None, align_corners: bool = False
) -> Array:
    """Each output cell is a weighted mean of the input cells on either side (along each axis) of its center.

    Args:
        x, size, scale: as for `upsample_nearest`.
        align_corners: True puts the centers of the corner cells on each other; False (the default, as in PyTorch and
            TensorFlow 2) aligns the outer edges.
    """
    return _resized(x, size, scale, partial(_linear, align_corners=align_corners))


def upsample_bilinear_backward(
    grad: ArrayLike, x: ArrayLike, *, size: Size | None = None, scale: Scale | None = None, align_corners: bool = False
) -> UpsampleGradients:
    """Each input cell receives what it gave, with the same weights."""
    return _backward(grad, x, size, scale, partial(_linear, align_corners=align_corners))


def upsample_bicubic(
    x: ArrayLike, *, size: Size | None = None, scale: Scale | None = None, align_corners: bool = False
) -> Array:
    """Each output cell is a weighted sum of the four nearest input cells along each axis; arguments as for bilinear.

    The weight of a cell at distance d is Keys' cubic with a = -0.75 (as in PyTorch and OpenCV; Keys himself, Pillow and
    TensorFlow take -0.5). Cells beyond the border repeat the last one.
    """
    return _resized(x, size, scale, partial(_cubic, align_corners=align_corners))


def upsample_bicubic_backward(
    grad: ArrayLike, x: ArrayLike, *, size: Size | None = None, scale: Scale | None = None, align_corners: bool = False
) -> UpsampleGradients:
    """Each input cell receives what it gave, with the same weights."""
    return _backward(grad, x, size, scale, partial(_cubic, align_corners=align_corners))


# --- what the output cells of one axis read --------------------------------------------------------------------------


def _nearest(n: int, m: int, scale: float | None, *, exact: bool, image: bool) -> Taps:
    i = np.arange(m)
    if scale is None:
        cells = (2 * i + 1) * n // (2 * m) if exact else i * n // m
    elif image and not exact and m in (n, 2 * n):
        cells = i * n // m
    else:
        start = (i + 0.5 * exact).astype(np.float32) * np.float32(1 / scale)
        cells = np.minimum(start.astype(int), n - 1)
    return Taps(cells[:, None], np.ones((m, 1)))


def _linear(n: int, m: int, scale: float | None, *, align_corners: bool) -> Taps:
    below, part = _position(n, m, None if m == n else scale, align_corners)
    part = np.where(below < 0, 0, part)  # before the first center: that cell alone
    below = np.maximum(below, 0)
    cells = np.minimum(np.stack([below, below + 1], axis=1), n - 1)
    return Taps(cells, np.stack([1 - part, part], axis=1))


def _cubic(n: int, m: int, scale: float | None, *, align_corners: bool) -> Taps:
    below, part = _position(n, m, scale, align_corners)
    offsets = np.arange(-1, 3)
    distance = np.abs(part[:, None] - offsets)
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1  # up to 1 cell away
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a  # 1 to 2 cells away
    return Taps(np.clip(below[:, None] + offsets, 0, n - 1), np.where(distance <= 1, near, far))


def _position(n: int, m: int, scale: float | None, align_corners: bool) -> tuple[Integers, Array]:
    """The input cell whose center lies at or before that of each output cell, and how far beyond it that one lies."""
    i = np.arange(m)
    if align_corners:
        below, rest = np.divmod(i * (n - 1), max(m - 1, 1))
        return below, rest / max(m - 1, 1)
    if scale is None:
        below, rest = np.divmod((2 * i + 1) * n - m, 2 * m)
        return below, rest / (2 * m)
    position = (i + 0.5) * (1 / scale) - 0.5
    below = np.minimum(np.floor(position), n - 1)
    return below.astype(int), np.minimum(position - below, 1)


# --- all axes ---------------------------------------------------------------------------------------------------------


def _resized(x: ArrayLike, size: Any, scale: Any, taps_of: Callable[..., Taps]) -> Array:
    y = as_float("x", x)
    for axis, m, s in _targets(y, size, scale):
        y = _read(y, axis, taps_of(y.shape[axis], m, s))
    return y


def _read(x: Array, axis: int, taps: Taps) -> Array:
    """What the output cells read along one axis, weighted and added up."""
    if taps.cells.shape[1] == 1:
        return np.take(x, taps.cells[:, 0], axis=axis)
    weights = taps.weights.astype(x.dtype).T.reshape(-1, len(taps.cells), *(1,) * (x.ndim - 1 - axis))
    return reduce(np.add, (np.take(x, cells, axis=axis) * w for cells, w in zip(taps.cells.T, weights, strict=True)))


def _backward(grad: ArrayLike, x: ArrayLike, size: Any, scale: Any, taps_of: Callable[..., Taps]) -> UpsampleGradients:
    grad, x = as_floats(grad=grad, x=x)
    targets = _targets(x, size, scale)
    check_same_shape(grad, (*x.shape[:2], *(m for _, m, _ in targets)))
    for axis, m, s in reversed(targets):
        n = x.shape[axis]
        cells, weights = taps_of(n, m, s)
        given = np.moveaxis(grad, axis, 0)
        received = np.zeros((n, *given.shape[1:]), grad.dtype)
        for i in range(m):
            for cell, weight in zip(cells[i], weights[i].astype(grad.dtype), strict=True):
                received[cell] += weight * given[i]
        grad = np.moveaxis(received, 0, axis)
    return UpsampleGradients(grad)


def _targets(x: Array, size: Any, scale: Any) -> list[tuple[int, int, float | None]]:
    """For each spatial axis: its number, the output size, and the scale if that is what was asked for."""
    axes = x.ndim - 2
    if not 1 <= axes <= 3:
        raise InputError(f"x: shape {x.shape}, expected (N, C, H, W), or one or three spatial axes")
    if min(x.shape[1:]) < 1:
        raise InputError(f"x: shape {x.shape} is empty, expected at least one channel and one cell along each axis")
    if (size is None) == (scale is None):
        raise InputError(f"size: {size} and scale: {scale}, expected exactly one of them")
    if size is not None:
        return [(2 + a, m, None) for a, m in enumerate(per_axis("size", size, axes))]
    scales = [real("scale", s) for s in (scale if isinstance(scale, tuple | list) else [scale] * axes)]
    if len(scales) != axes or not all(0 < s < float("inf") for s in scales):
        raise InputError(f"scale: {scale}, expected a positive factor, or {axes} of them")
    sizes = [int(n * s) for n, s in zip(x.shape[2:], scales, strict=True)]
    if min(sizes) < 1:
        raise InputError(f"scale: {scale} of {x.shape[2:]} gives {tuple(sizes)}, expected at least one cell each")
    return [(2 + a, m, s) for a, (m, s) in enumerate(zip(sizes, scales, strict=True))]
