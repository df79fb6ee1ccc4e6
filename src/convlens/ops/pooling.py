"""Pooling: one number for each window of each channel; the largest or the mean.

Nothing is padded: cells outside the image take no part. So the windows are walked kernel cell by kernel cell, each at
the outputs where it lies inside the image.

Sources: LeCun et al., "Gradient-based learning applied to document recognition", 1998 (averages); Ranzato et al.,
"Unsupervised learning of invariant feature hierarchies", 2007 (maxima); Lin, Chen and Yan, "Network in network", 2013
(global).
"""

from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.geometry import conv_size, effective_kernel
from convlens.ops import _checks
from convlens.ops._switch import replaceable
from convlens.ops._types import Array, ArrayLike, Integers, Padding, Size
from convlens.ops._windows import Windows
from convlens.ops.arrays import as_floats


class PoolingGradients(NamedTuple):
    """Gradient with respect to the input, of its shape."""

    x: Array


@replaceable
def max_pool2d(
    x: ArrayLike,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil: bool = False,
) -> Array:
    """y[n, c, p, q] = the largest x[n, c, p s + i d - top, q s + j d - left] inside the image.

    Args:
        x: (N, C, H, W).
        kernel: window, one integer or (vertical, horizontal).
        stride: the kernel's size if None.
        padding: as for `conv2d`, less than the window's extent; its cells never win.
        ceil: round the output size up; a window that would start beyond the image and its padding is left out.

    Returns:
        (N, C, H_out, W_out) of x's float type; -inf where a dilated window sees padding alone, NaN where a window sees
        one.
    """
    return max_pool2d_with_indices(x, kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil)[0]


@replaceable
def max_pool2d_backward(
    grad: ArrayLike,
    x: ArrayLike,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil: bool = False,
) -> PoolingGradients:
    """Each grad[n, c, p, q] goes to the cell that won its window: the first in reading order (of NaN the last)."""
    grad, x, _ = checked_backward(grad, x, kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil)
    _, indices = max_pool2d_with_indices(x, kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil)
    return PoolingGradients(to_cells(grad, indices, x.shape))


def max_pool2d_with_indices(
    x: ArrayLike,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil: bool = False,
) -> tuple[Array, Integers]:
    """The maxima of `max_pool2d`, and which cell each is: row * W + column, int64; both (N, C, H_out, W_out).

    Of equal values the first in reading order is taken, of NaN the last, as PyTorch does; -1 where a dilated window
    sees padding alone. The gradient of the maxima is that of `max_pool2d`.
    """
    x, windows = checked(x, kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil)
    y = np.full((*x.shape[:2], *windows.output), -np.inf, x.dtype)
    indices = np.full(y.shape, -1)
    numbers = np.arange(windows.size[0] * windows.size[1]).reshape(windows.size)
    for (p, q), (rows, columns) in windows.overlaps:
        seen, best, number = x[:, :, rows, columns], y[:, :, p, q], indices[:, :, p, q]
        better = (seen > best) | np.isnan(seen) | (number < 0)  # nothing is > NaN, so a NaN stays
        np.copyto(best, seen, where=better)
        np.copyto(number, numbers[rows, columns], where=better)
    return y, indices


@replaceable
def avg_pool2d(
    x: ArrayLike,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil: bool = False,
    count_padding: bool = True,
    divisor: int | None = None,
) -> Array:
    """y[n, c, p, q] = sum of x[n, c] over the window / number of cells in it.

    Arguments as `max_pool2d`. `count_padding` (PyTorch's default) counts the zeros around the image as cells;
    otherwise (TensorFlow's way) only cells of the image count. `divisor` takes the place of the number of cells.
    """
    x, windows = checked(x, kernel, stride=stride, padding=padding, ceil=ceil)
    total = np.zeros((*x.shape[:2], *windows.output), x.dtype)
    for (p, q), (rows, columns) in windows.overlaps:
        total[:, :, p, q] += x[:, :, rows, columns]
    return total / divisors(windows, count_padding, divisor).astype(x.dtype)


@replaceable
def avg_pool2d_backward(
    grad: ArrayLike,
    x: ArrayLike,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil: bool = False,
    count_padding: bool = True,
    divisor: int | None = None,
) -> PoolingGradients:
    """Each grad[n, c, p, q] is shared out equally among the cells of its window."""
    grad, x, windows = checked_backward(grad, x, kernel, stride=stride, padding=padding, ceil=ceil)
    share = grad / divisors(windows, count_padding, divisor).astype(x.dtype)
    dx = np.zeros_like(x)
    for (p, q), (rows, columns) in windows.overlaps:
        dx[:, :, rows, columns] += share[:, :, p, q]
    return PoolingGradients(dx)


def checked(
    x: ArrayLike, kernel: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> tuple[Array, Windows]:
    """The images in a float type, and their windows; raises what `max_pool2d` raises."""
    (x,) = as_floats(x=x)
    size = _checks.dimensions("x", x, "N C H W")[2:]
    kernel = _checks.per_axis("kernel", kernel, 2)
    stride = kernel if stride is None else _checks.per_axis("stride", stride, 2)
    dilation = _checks.per_axis("dilation", dilation, 2)
    around = _checks.sides(padding, size, kernel, stride, dilation)
    for sides, k, d in zip(around, kernel, dilation, strict=True):
        if max(sides) >= effective_kernel(k, d):
            raise InputError(f"padding: {padding!r}, expected less than the window's {effective_kernel(k, d)}")
    _checks.kernel_fits("kernel", size, kernel, around, dilation)
    axes = zip(size, kernel, stride, around, dilation, strict=True)
    return x, Windows.of(size, kernel, stride, around, dilation, output=[conv_size(*axis, ceil=ceil) for axis in axes])


def checked_backward(grad: ArrayLike, x: ArrayLike, kernel: Any, **options: Any) -> tuple[Array, Array, Windows]:
    """As `checked`, with the gradient of the output."""
    grad, x = as_floats(grad=grad, x=x)
    x, windows = checked(x, kernel, **options)
    _checks.expect_shape("grad", grad, (*x.shape[:2], *windows.output))
    return grad, x, windows


def along(a: Array, axis: int, cells: slice) -> Array:
    """View of these cells along one axis."""
    return a[(slice(None),) * axis + (cells,)]


def to_cells(grad: Array, indices: Integers, shape: tuple[int, ...]) -> Array:
    """Every gradient (N, C, H_out, W_out) added to the cell of (N, C, H, W) that its index names; -1 to none."""
    dx = np.zeros((*shape[:2], shape[2] * shape[3]), grad.dtype)
    n, c = np.ogrid[: shape[0], : shape[1]]
    where = (n[..., None, None], c[..., None, None], indices)
    np.add.at(dx, where, np.where(indices >= 0, grad, 0))
    return dx.reshape(shape)


def divisors(windows: Windows, count_padding: bool, divisor: int | None) -> Array:
    """What each window's sum is divided by, (H_out, W_out)."""
    if divisor is not None:
        return np.full(windows.output, _checks.whole("divisor", divisor, 1))
    counts = []
    for n, k, s, (before, after), out in zip(
        windows.size, windows.kernel, windows.stride, windows.around, windows.output, strict=True
    ):
        start = np.arange(out) * s - before
        if count_padding:
            counts.append(np.minimum(start + k, n + after) - start)
        else:
            counts.append(np.minimum(start + k, n) - np.maximum(start, 0))
    return np.multiply.outer(*counts)
