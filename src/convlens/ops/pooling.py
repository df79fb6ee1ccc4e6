"""Pooling: one number for each window of each channel; the largest or the mean.

Both are separable. A window's maximum is the maximum over its rows of the maxima along each row, and its sum likewise,
so each axis is done in turn, columns first. Nothing is padded: cells outside the image take no part.

Sources: LeCun et al., "Gradient-based learning applied to document recognition", 1998 (averages); Ranzato et al.,
"Unsupervised learning of invariant feature hierarchies", 2007 (maxima); Lin, Chen and Yan, "Network in network", 2013
(global).
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from convlens.geometry import conv_size, effective_kernel
from convlens.ops import _checks, _parallel
from convlens.ops._checks import Array, Padding, Size
from convlens.ops._windows import Axis
from convlens.ops.arrays import kept

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
        (N, C, H_out, W_out) of x's float type; -inf where a dilated window sees padding alone, NaN where a window sees
        one.
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
    """Each grad[n, c, p, q] goes to the cell that won its window: the first in reading order (of NaN the last)."""
    grad, x = _checks.arrays(grad=grad, x=x)
    rows, columns = axes = _axes(x, kernel, stride, padding, dilation, ceil)
    _checks.expect_shape("grad", grad, (*x.shape[:2], rows.output, columns.output))

    def backward(x: Array, grad: Array) -> Array:
        along_columns, y = _row_maxima(x, axes)
        if np.isnan(y).any():  # equal to nothing, so that no winner would be found below
            return to_cells(grad, _winners(x, axes)[1], x.shape)
        d_along_columns = _to_winners(grad, along_columns, y, rows, ROWS)
        return _to_winners(d_along_columns, x, along_columns, columns, COLUMNS)

    return PoolingGradients(_in_blocks(backward, x, axes, grad))


def max_pool2d_with_indices(
    x: Any,
    kernel: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil: bool = False,
) -> tuple[Array, Array]:
    """The maxima of `max_pool2d`, and which cell each is: row * W + column, int64; both (N, C, H_out, W_out).

    Of equal values the first in reading order is taken, of NaN the last, as PyTorch does; -1 where a dilated window
    sees padding alone. The gradient of the maxima is that of `max_pool2d`.
    """
    (x,) = _checks.arrays(x=x)
    return _winners(x, _axes(x, kernel, stride, padding, dilation, ceil))


def avg_pool2d(
    x: Any,
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
    (x,) = _checks.arrays(x=x)
    axes = _axes(x, kernel, stride, padding, 1, ceil)
    cells = _cells(axes, count_padding, divisor).astype(x.dtype)
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
    divisor: int | None = None,
) -> PoolingGradients:
    """Each grad[n, c, p, q] is shared out equally among the cells of its window."""
    grad, x = _checks.arrays(grad=grad, x=x)
    rows, columns = axes = _axes(x, kernel, stride, padding, 1, ceil)
    _checks.expect_shape("grad", grad, (*x.shape[:2], rows.output, columns.output))
    cells = _cells(axes, count_padding, divisor).astype(x.dtype)

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


def along(a: Array, axis: int, cells: slice) -> Array:
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
        target = along(y, number, outputs)
        combine(target, along(x, number, inputs), out=target)
    return y


def _spread(grad: Array, axis: Axis, number: int) -> Array:
    """The adjoint of a sum over windows: every cell gets the gradients of all windows that saw it."""
    shape = list(grad.shape)
    shape[number] = axis.size
    dx = np.zeros(shape, grad.dtype)
    for outputs, inputs in axis.meetings:
        target = along(dx, number, inputs)
        target += along(grad, number, outputs)
    return dx


def _to_winners(grad: Array, x: Array, y: Array, axis: Axis, number: int) -> Array:
    """The adjoint of a maximum over windows: the first cell equal to the maximum takes the gradient."""
    dx = np.zeros_like(x)
    undecided = np.ones(y.shape, bool)
    for outputs, inputs in axis.meetings:
        still = along(undecided, number, outputs)
        won = along(x, number, inputs) == along(y, number, outputs)
        won &= still
        still ^= won
        target = along(dx, number, inputs)
        target += kept(along(grad, number, outputs), won)
    return dx


def _winners(x: Array, axes: tuple[Axis, Axis]) -> tuple[Array, Array]:
    """Both axes at once: the maximum of each window, and the number of its cell in the image."""
    rows, columns = axes
    shape = (*x.shape[:2], rows.output, columns.output)
    y, indices = np.full(shape, -np.inf, x.dtype), np.full(shape, -1)
    numbers = np.arange(rows.size * columns.size).reshape(rows.size, columns.size)
    for (p, above), (q, beside) in product(rows.meetings, columns.meetings):
        seen, best, number = x[:, :, above, beside], y[:, :, p, q], indices[:, :, p, q]
        better = (seen > best) | np.isnan(seen) | (number < 0)
        np.copyto(best, seen, where=better)
        np.copyto(number, numbers[above, beside], where=better)
    return y, indices


def to_cells(grad: Array, indices: Array, shape: tuple[int, ...]) -> Array:
    """Every gradient (N, C, H_out, W_out) added to the cell of (N, C, H, W) that its index names; -1 to none."""
    dx = np.zeros((*shape[:2], shape[2] * shape[3]), grad.dtype)
    n, c = np.ogrid[: shape[0], : shape[1]]
    where = (n[..., None, None], c[..., None, None], indices)
    np.add.at(dx, where, kept(grad, indices >= 0))
    return dx.reshape(shape)


def _cells(axes: tuple[Axis, Axis], count_padding: bool, divisor: int | None) -> Array:
    """What each window's sum is divided by, (H_out, W_out)."""
    if divisor is not None:
        return np.full([axis.output for axis in axes], _checks.whole("divisor", divisor, 1))
    counts = []
    for axis in axes:
        start = np.arange(axis.output) * axis.stride - axis.before
        stop = start + axis.kernel
        if count_padding:
            counts.append(np.minimum(stop, axis.size + axis.after) - start)
        else:
            counts.append(np.minimum(stop, axis.size) - np.maximum(start, 0))
    return np.multiply.outer(*counts)
