"""Pooling to a size that is given: global (one number per channel) and adaptive.

Adaptive windows, for n cells and m outputs: output p sees cells floor(p n / m) ... ceil((p + 1) n / m) - 1.
Source: He et al., "Spatial pyramid pooling in deep convolutional networks", 2014; Lin, Chen and Yan, "Network in
network", 2013 (global).
"""

from typing import Any

import numpy as np

from convlens.geometry import adaptive_cells
from convlens.ops import _checks
from convlens.ops._types import Array, ArrayLike, Integers, Size
from convlens.ops.arrays import as_floats
from convlens.ops.pooling import PoolingGradients, along, to_cells


def global_avg_pool2d(x: ArrayLike) -> Array:
    """y[n, c] = mean of x[n, c]. x (N, C, H, W) -> (N, C)."""
    (x,) = as_floats(x=x)
    _checks.dimensions("x", x, "N C H W")
    return x.mean(axis=(2, 3))


def global_avg_pool2d_backward(grad: ArrayLike, x: ArrayLike) -> PoolingGradients:
    """grad[n, c] / (H W) at every cell, for grad (N, C)."""
    grad, x = as_floats(grad=grad, x=x)
    n, c, height, width = _checks.dimensions("x", x, "N C H W")
    _checks.expect_shape("grad", grad, (n, c))
    share = grad / grad.dtype.type(height * width)
    return PoolingGradients(np.broadcast_to(share[:, :, None, None], x.shape).copy())


def global_max_pool2d(x: ArrayLike) -> Array:
    """y[n, c] = the largest of x[n, c]. x (N, C, H, W) -> (N, C)."""
    return adaptive_max_pool2d(x, 1)[:, :, 0, 0]


def global_max_pool2d_backward(grad: ArrayLike, x: ArrayLike) -> PoolingGradients:
    """grad[n, c] at the first cell (in reading order) with the largest value, for grad (N, C)."""
    (grad,) = as_floats(grad=grad)
    _checks.dimensions("grad", grad, "N C")
    return adaptive_max_pool2d_backward(grad[:, :, None, None], x, 1)


def adaptive_avg_pool2d(x: ArrayLike, size: Size) -> Array:
    """Means over windows that cover the image in an even grid, first over rows, then over columns.

    x (N, C, H, W), size one integer or (H_out, W_out) -> (N, C, H_out, W_out).
    """
    (x,) = as_floats(x=x)
    for axis, n, m in _sizes(x, size):
        windows = adaptive_windows(n, m)
        x = np.stack([along(x, axis, window).mean(axis=axis) for window in windows], axis=axis)
    return x


def adaptive_avg_pool2d_backward(grad: ArrayLike, x: ArrayLike, size: Size) -> PoolingGradients:
    """Each gradient is shared out equally among the cells of its window."""
    grad, x = as_floats(grad=grad, x=x)
    sizes = _sizes(x, size)
    _checks.expect_shape("grad", grad, (*x.shape[:2], *(m for _, _, m in sizes)))
    for axis, n, m in sizes:
        dx = np.zeros((*grad.shape[:axis], n, *grad.shape[axis + 1 :]), grad.dtype)
        for p, window in enumerate(adaptive_windows(n, m)):
            share = along(dx, axis, window)
            share += along(grad, axis, slice(p, p + 1)) / grad.dtype.type(window.stop - window.start)
        grad = dx
    return PoolingGradients(grad)


def adaptive_max_pool2d(x: ArrayLike, size: Size) -> Array:
    """The largest of each window of `adaptive_avg_pool2d`. x (N, C, H, W) -> (N, C, H_out, W_out)."""
    return adaptive_max_pool2d_with_indices(x, size)[0]


def adaptive_max_pool2d_with_indices(x: ArrayLike, size: Size) -> tuple[Array, Integers]:
    """Also which cell of the image each maximum is: row * W + column, int64, of the shape of the maxima.

    Of equal values the first in reading order is taken, of NaN the last, as PyTorch does.
    """
    (x,) = as_floats(x=x)
    (_, height, h_out), (_, width, w_out) = _sizes(x, size)
    y = np.empty((*x.shape[:2], h_out, w_out), x.dtype)
    indices = np.empty(y.shape, np.int64)
    numbers = np.arange(height * width).reshape(height, width)
    for p, rows in enumerate(adaptive_windows(height, h_out)):
        for q, columns in enumerate(adaptive_windows(width, w_out)):
            window = x[:, :, rows, columns].reshape(*x.shape[:2], numbers[rows, columns].size)
            first_maximum, last_nan = window.argmax(axis=2), -1 - np.isnan(window[:, :, ::-1]).argmax(axis=2)
            y[:, :, p, q] = window.max(axis=2)
            winner = np.where(np.isnan(y[:, :, p, q]), last_nan, first_maximum)
            indices[:, :, p, q] = numbers[rows, columns].reshape(-1)[winner]
    return y, indices


def adaptive_max_pool2d_backward(grad: ArrayLike, x: ArrayLike, size: Size) -> PoolingGradients:
    """Each gradient goes to the cell that won its window."""
    grad, x = as_floats(grad=grad, x=x)
    _, indices = adaptive_max_pool2d_with_indices(x, size)
    _checks.expect_shape("grad", grad, indices.shape)
    return PoolingGradients(to_cells(grad, indices, x.shape))


def adaptive_windows(n: int, m: int) -> list[slice]:
    """The m windows over n cells."""
    cells = [adaptive_cells(p, n, m) for p in range(m)]
    return [slice(window.start, window.stop) for window in cells]


def _sizes(x: Array, size: Any) -> list[tuple[int, int, int]]:
    """For each spatial axis: its number, the input size and the output size."""
    shape = _checks.dimensions("x", x, "N C H W")
    return [(2 + a, shape[2 + a], m) for a, m in enumerate(_checks.per_axis("size", size, 2))]
