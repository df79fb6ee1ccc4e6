"""Pooling: one number for each window of each channel; the largest or the mean.

Both are separable. A window's maximum is the maximum over its rows of the maxima along each row, and its sum likewise,
so each axis is done in turn, columns first. Nothing is padded: cells outside the image take no part.

Sources: LeCun et al., "Gradient-based learning applied to document recognition", 1998 (averages); Ranzato et al.,
"Unsupervised learning of invariant feature hierarchies", 2007 (maxima); Lin, Chen and Yan, "Network in network", 2013
(global).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convlens.geometry import conv_size, effective_kernel
from convlens.ops import _checks, _parallel
from convlens.ops._checks import Array, Padding, Size
from convlens.ops._windows import Axis

CACHE = 1 << 19  # bytes of images worked on at a time
ROWS, COLUMNS = 2, 3  # of (N, C, H, W)


class PoolingGradients(NamedTuple):
    """Gradient with respect to the input, of its shape."""

    x: Array


def max_pool2d(
    x: Any,
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
        (N, C, H_out, W_out) of x's float type; -inf where a dilated window sees padding alone.
    """
    (x,) = _checks.arrays(x=x)
    axes = _axes(x, kernel, stride, padding, dilation, ceil)
    return _in_blocks(lambda part: _row_maxima(part, axes)[1], x, axes)


def max_pool2d_backward(
    grad: Any,
    x: Any,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil: bool = False,
) -> PoolingGradients:
    """Each grad[n, c, p, q] goes to the cell that won its window: of equals, the first in reading order."""
    grad, x = _checks.arrays(grad=grad, x=x)
    rows, columns = axes = _axes(x, kernel, stride, padding, dilation, ceil)
    _checks.expect_shape("grad", grad, (*x.shape[:2], rows.output, columns.output))

    def backward(x: Array, grad: Array) -> Array:
        along_columns, y = _row_maxima(x, axes)
        d_along_columns = _to_winners(grad, along_columns, y, rows, ROWS)
        return _to_winners(d_along_columns, x, along_columns, columns, COLUMNS)

    return PoolingGradients(_in_blocks(backward, x, axes, grad))


def avg_pool2d(
    x: Any,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil: bool = False,
    count_padding: bool = True,
) -> Array:
    """y[n, c, p, q] = sum of x[n, c] over the window / number of cells in it.

    Arguments as `max_pool2d`. `count_padding` (PyTorch's default) counts the zeros around the image as cells;
    otherwise (TensorFlow's way) only cells of the image count.
    """
    (x,) = _checks.arrays(x=x)
    axes = _axes(x, kernel, stride, padding, 1, ceil)
    cells = _cells(axes, count_padding).astype(x.dtype)
    return _in_blocks(lambda part: _windowed_sum(part, axes) / cells, x, axes)


def avg_pool2d_backward(
    grad: Any,
    x: Any,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil: bool = False,
    count_padding: bool = True,
) -> PoolingGradients:
    """Each grad[n, c, p, q] is shared out equally among the cells of its window."""
    grad, x = _checks.arrays(grad=grad, x=x)
    rows, columns = axes = _axes(x, kernel, stride, padding, 1, ceil)
    _checks.expect_shape("grad", grad, (*x.shape[:2], rows.output, columns.output))
    cells = _cells(axes, count_padding).astype(x.dtype)

    def backward(x: Array, grad: Array) -> Array:
        return _spread(_spread(grad / cells, rows, ROWS), columns, COLUMNS)

    return PoolingGradients(_in_blocks(backward, x, axes, grad))


def _axes(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> tuple[Axis, Axis]:
    """The two spatial axes, after all checks."""
    size = _checks.dimensions("x", x, "N C H W")[2:]
    kernel = _checks.per_axis("kernel", kernel, 2)
    stride = kernel if stride is None else _checks.per_axis("stride", stride, 2)
    dilation = _checks.per_axis("dilation", dilation, 2)
    around = _checks.sides(padding, size, kernel, stride, dilation)
    for sides, k, d in zip(around, kernel, dilation, strict=True):
        if max(sides) >= effective_kernel(k, d):
            raise _checks.InputError(f"padding: {padding!r}, expected less than the window's {effective_kernel(k, d)}")
    _checks.kernel_fits("kernel", size, kernel, around, dilation)
    rows, columns = (
        Axis(n, k, s, d, p[0], conv_size(n, k, s, p, d, ceil=ceil), after=p[1])
        for n, k, s, d, p in zip(size, kernel, stride, dilation, around, strict=True)
    )
    return rows, columns


def _in_blocks(work: Callable[..., Array], x: Array, axes: tuple[Axis, Axis], *more: Array) -> Array:
    """`work` of a few images (and the same images of further arrays) at a time, while they are in the cache."""
    step = max(1, CACHE // max(1, x[:1].nbytes))
    taps = axes[0].kernel + axes[1].kernel

    def part(images: slice, _: _parallel.Workspace) -> list[Array]:
        edges = range(images.start, images.stop, step)
        blocks = [slice(start, min(start + step, images.stop)) for start in edges]
        return [work(x[block], *(a[block] for a in more)) for block in blocks]

    results = _parallel.run(part, _parallel.split(len(x), 8 * taps * x.size), x.dtype)
    blocks = [block for result in results for block in result]
    return np.concatenate(blocks) if blocks else work(x, *more)


def _along(a: Array, axis: int, cells: slice) -> Array:
    """View of these cells along one axis."""
    return a[(slice(None),) * axis + (cells,)]


def _row_maxima(x: Array, axes: tuple[Axis, Axis]) -> tuple[Array, Array]:
    """Maxima along each row's windows (N, C, H, W_out), and of these along the columns (N, C, H_out, W_out)."""
    rows, columns = axes
    along_columns = _reduced(x, columns, COLUMNS, np.maximum, -np.inf)
    return along_columns, _reduced(along_columns, rows, ROWS, np.maximum, -np.inf)


def _windowed_sum(x: Array, axes: tuple[Axis, Axis]) -> Array:
    rows, columns = axes
    return _reduced(_reduced(x, columns, COLUMNS, np.add, 0), rows, ROWS, np.add, 0)


def _reduced(x: Array, axis: Axis, number: int, combine: np.ufunc, start: float) -> Array:
    """Maximum or sum over the windows of one axis: `combine` of what each kernel cell sees."""
    shape = list(x.shape)
    shape[number] = axis.output
    y = np.full(shape, start, x.dtype)
    for outputs, inputs in axis.meetings:
        target = _along(y, number, outputs)
        combine(target, _along(x, number, inputs), out=target)
    return y


def _spread(grad: Array, axis: Axis, number: int) -> Array:
    """The adjoint of a sum over windows: every cell gets the gradients of all windows that saw it."""
    shape = list(grad.shape)
    shape[number] = axis.size
    dx = np.zeros(shape, grad.dtype)
    for outputs, inputs in axis.meetings:
        target = _along(dx, number, inputs)
        target += _along(grad, number, outputs)
    return dx


def _to_winners(grad: Array, x: Array, y: Array, axis: Axis, number: int) -> Array:
    """The adjoint of a maximum over windows: the first cell equal to the maximum takes the gradient."""
    dx = np.zeros_like(x)
    # The gradient's bits times 0 or 1: what np.where(won, grad, 0) gives, infinities included, ten times as fast.
    bits = grad.view(np.int32 if grad.itemsize == 4 else np.int64)
    undecided = np.ones(y.shape, bool)
    for outputs, inputs in axis.meetings:
        still = _along(undecided, number, outputs)
        won = _along(x, number, inputs) == _along(y, number, outputs)
        won &= still
        still ^= won
        target = _along(dx, number, inputs)
        target += (_along(bits, number, outputs) * won).view(grad.dtype)
    return dx


def _cells(axes: tuple[Axis, Axis], count_padding: bool) -> Array:
    """How many cells each window divides by, (H_out, W_out)."""
    counts = []
    for axis in axes:
        start = np.arange(axis.output) * axis.stride - axis.before
        stop = start + axis.kernel
        if count_padding:
            counts.append(np.minimum(stop, axis.size + axis.after) - start)
        else:
            counts.append(np.minimum(stop, axis.size) - np.maximum(start, 0))
    return np.multiply.outer(*counts)
