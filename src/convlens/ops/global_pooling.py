"""Pooling to a size that is given: global (one number a channel) and adaptive.

Adaptive windows, for n cells and m outputs: output p sees cells floor(p n / m) ... ceil((p + 1) n / m) - 1.
Source: He et al., "Spatial pyramid pooling in deep convolutional networks", 2014; Lin, Chen and Yan, "Network in
network", 2013 (global).
"""

from typing import Any

import numpy as np

from convlens.ops import _checks
from convlens.ops._checks import Array, Size
from convlens.ops.pooling import PoolingGradients


def global_avg_pool2d(x: Any) -> Array:
    """y[n, c] = mean of x[n, c]. x (N, C, H, W) -> (N, C)."""
    (x,) = _checks.arrays(x=x)
    _checks.dimensions("x", x, "N C H W")
    return x.mean(axis=(2, 3))


def global_avg_pool2d_backward(grad: Any, x: Any) -> PoolingGradients:
    """grad[n, c] / (H W) at every cell, for grad (N, C)."""
    grad, x = _checks.arrays(grad=grad, x=x)
    n, c, height, width = _checks.dimensions("x", x, "N C H W")
    _checks.expect_shape("grad", grad, (n, c))
    share = grad / grad.dtype.type(height * width)
    return PoolingGradients(np.broadcast_to(share[:, :, None, None], x.shape).copy())


def global_max_pool2d(x: Any) -> Array:
    """y[n, c] = the largest of x[n, c]. x (N, C, H, W) -> (N, C)."""
    return adaptive_max_pool2d(x, 1)[:, :, 0, 0]


def global_max_pool2d_backward(grad: Any, x: Any) -> PoolingGradients:
    """grad[n, c] at the first cell (in reading order) with the largest value, for grad (N, C)."""
    (grad,) = _checks.arrays(grad=grad)
    _checks.dimensions("grad", grad, "N C")
    return adaptive_max_pool2d_backward(grad[:, :, None, None], x, 1)


def adaptive_avg_pool2d(x: Any, size: Size) -> Array:
    """Means over windows that cover the image in an even grid: y[n, c] = A_h x[n, c] A_w^T.

    Row p of A_h holds 1 / (number of rows in window p) where the window is, 0 elsewhere; A_w likewise.
    x (N, C, H, W), size one integer or (H_out, W_out) -> (N, C, H_out, W_out).
    """
    (x,) = _checks.arrays(x=x)
    rows, columns = (_averaging(*axis).astype(x.dtype) for axis in _sizes(x, size))
    return rows @ x @ columns.T


def adaptive_avg_pool2d_backward(grad: Any, x: Any, size: Size) -> PoolingGradients:
    """dx[n, c] = A_h^T grad[n, c] A_w, for grad (N, C, H_out, W_out)."""
    grad, x = _checks.arrays(grad=grad, x=x)
    rows, columns = (_averaging(*axis).astype(x.dtype) for axis in _sizes(x, size))
    _checks.expect_shape("grad", grad, (*x.shape[:2], len(rows), len(columns)))
    return PoolingGradients(rows.T @ grad @ columns)


def adaptive_max_pool2d(x: Any, size: Size) -> Array:
    """The largest of each window of `adaptive_avg_pool2d`. x (N, C, H, W) -> (N, C, H_out, W_out)."""
    (x,) = _checks.arrays(x=x)
    (height, h_out), (width, w_out) = _sizes(x, size)
    y = np.empty((*x.shape[:2], h_out, w_out), x.dtype)
    for p, rows in enumerate(adaptive_windows(height, h_out)):
        for q, columns in enumerate(adaptive_windows(width, w_out)):
            y[:, :, p, q] = x[:, :, rows, columns].max(axis=(2, 3))
    return y


def adaptive_max_pool2d_backward(grad: Any, x: Any, size: Size) -> PoolingGradients:
    """Each gradient goes to the first cell (in reading order) that won its window."""
    grad, x = _checks.arrays(grad=grad, x=x)
    (height, h_out), (width, w_out) = _sizes(x, size)
    _checks.expect_shape("grad", grad, (*x.shape[:2], h_out, w_out))
    n, c = np.ogrid[: x.shape[0], : x.shape[1]]
    dx = np.zeros_like(x)
    for p, rows in enumerate(adaptive_windows(height, h_out)):
        for q, columns in enumerate(adaptive_windows(width, w_out)):
            window = x[:, :, rows, columns]
            winner = window.reshape(*x.shape[:2], -1).argmax(axis=2)
            i, j = np.unravel_index(winner, window.shape[2:])
            dx[n, c, rows.start + i, columns.start + j] += grad[:, :, p, q]
    return PoolingGradients(dx)


def adaptive_windows(n: int, m: int) -> list[slice]:
    """The m windows over n cells."""
    return [slice(p * n // m, -(-(p + 1) * n // m)) for p in range(m)]


def _averaging(n: int, m: int) -> Array:
    """The matrix (m, n) that takes the mean of each window."""
    matrix = np.zeros((m, n))
    for row, window in zip(matrix, adaptive_windows(n, m), strict=True):
        row[window] = 1 / (window.stop - window.start)
    return matrix


def _sizes(x: Array, size: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, H_out) and (W, W_out)."""
    height, width = _checks.dimensions("x", x, "N C H W")[2:]
    h_out, w_out = _checks.per_axis("size", size, 2)
    return (height, h_out), (width, w_out)
