"""Upsampling by nearest neighbour and by bilinear interpolation.

Both are linear maps that treat rows and columns alike, so both are written as one: y = A_h x A_w^T with a matrix
A [output size, input size] for each axis, and the gradient is A_h^T grad A_w.
"""

from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops.arrays import as_float, as_floats, check_same_shape

ArrayLike = Any
Pair = int | tuple[int, int]
Scale = float | tuple[float, float]


class UpsampleGradients(NamedTuple):
    """Gradient with respect to the input [N, C, H, W]."""

    x: np.ndarray


def upsample_nearest(x: ArrayLike, *, size: Pair | None = None, scale: Scale | None = None) -> np.ndarray:
    """Each output cell copies the input cell floor(i / scale).

    Args:
        x: [N, C, H, W].
        size: output (H, W); or
        scale: factor, or one an axis; the output has floor(n * scale) cells.
    """
    x, rows, columns = _matrices(x, size, scale, nearest_matrix)
    return _apply(x, rows, columns)


def upsample_nearest_backward(
    grad: ArrayLike, x: ArrayLike, *, size: Pair | None = None, scale: Scale | None = None
) -> UpsampleGradients:
    """Each input cell receives the sum over its copies."""
    x, rows, columns = _matrices(x, size, scale, nearest_matrix)
    return _backward(grad, x, rows, columns)


def upsample_bilinear(
    x: ArrayLike, *, size: Pair | None = None, scale: Scale | None = None, align_corners: bool = False
) -> np.ndarray:
    """Each output cell is a weighted mean of the four nearest input cells.

    Args:
        x: [N, C, H, W].
        size: output (H, W); or
        scale: factor, or one an axis.
        align_corners: True puts the centres of the corner cells on each other; False (the default, as in PyTorch and
            TensorFlow 2) aligns the outer edges.
    """
    x, rows, columns = _matrices(x, size, scale, lambda *a: linear_matrix(*a, align_corners=align_corners))
    return _apply(x, rows, columns)


def upsample_bilinear_backward(
    grad: ArrayLike, x: ArrayLike, *, size: Pair | None = None, scale: Scale | None = None, align_corners: bool = False
) -> UpsampleGradients:
    """Each input cell receives what it gave, with the same weights."""
    x, rows, columns = _matrices(x, size, scale, lambda *a: linear_matrix(*a, align_corners=align_corners))
    return _backward(grad, x, rows, columns)


def nearest_matrix(n: int, size: int, scale: float | None = None) -> np.ndarray:
    """[size, n], a single 1 in each row: output cell i copies input cell floor(i * step)."""
    step = 1 / scale if scale else n / size
    source = np.minimum((np.arange(size) * step).astype(int), n - 1)
    matrix = np.zeros((size, n))
    matrix[np.arange(size), source] = 1
    return matrix


def linear_matrix(n: int, size: int, scale: float | None = None, *, align_corners: bool = False) -> np.ndarray:
    """[size, n]: the weights of the two input cells between which each output cell's centre lies."""
    if align_corners:
        position = np.arange(size) * ((n - 1) / (size - 1) if size > 1 else 0.0)
    else:
        step = 1 / scale if scale else n / size
        position = np.maximum((np.arange(size) + 0.5) * step - 0.5, 0)
    low = np.minimum(position.astype(int), n - 1)
    high = np.minimum(low + 1, n - 1)
    weight = position - low
    matrix = np.zeros((size, n))
    np.add.at(matrix, (np.arange(size), low), 1 - weight)
    np.add.at(matrix, (np.arange(size), high), weight)
    return matrix


def _matrices(x: ArrayLike, size: Pair | None, scale: Scale | None, matrix: Any) -> tuple[np.ndarray, ...]:
    x = as_float("x", x)
    if x.ndim != 4:
        raise InputError(f"x: shape {x.shape}, expected four axes (N, C, H, W)")
    if (size is None) == (scale is None):
        raise InputError(f"size: {size} and scale: {scale}, expected exactly one of them")
    scales: tuple[Any, ...] = (None, None)
    if scale is not None:
        scales = tuple(scale) if isinstance(scale, (tuple, list)) else (scale, scale)
        size = (int(x.shape[2] * scales[0]), int(x.shape[3] * scales[1]))
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if min(sizes) < 1:  # type: ignore[type-var]
        raise InputError(f"size: {sizes}, expected at least one cell along each axis")
    return x, *(matrix(n, m, s).astype(x.dtype) for n, m, s in zip(x.shape[2:], sizes, scales, strict=True))


def _apply(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return rows @ (x @ columns.T)


def _backward(grad: ArrayLike, x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> UpsampleGradients:
    grad, x = as_floats(grad=grad, x=x)
    check_same_shape(grad, (*x.shape[:2], rows.shape[0], columns.shape[0]))
    return UpsampleGradients(rows.T @ (grad @ columns))
