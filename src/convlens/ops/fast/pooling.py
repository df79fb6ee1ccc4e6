"""The fast forms of pooling. Both kinds are separable: a window's maximum is the maximum over its rows of the maxima
along each row, and its sum likewise, so each axis is done in turn, columns first, for a few images at a time.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import numpy as np

from convlens.ops import pooling as plain
from convlens.ops._types import Array
from convlens.ops.fast import parallel
from convlens.ops.fast.elementwise import kept
from convlens.ops.fast.windows import Axis, axes_of
from convlens.ops.pooling import PoolingGradients, along

CACHE = 1 << 19  # bytes of images worked on at a time
ROWS, COLUMNS = 2, 3  # of (N, C, H, W)


def max_pool2d(x: Any, kernel: Any, **options: Any) -> Array:
    """See `ops.max_pool2d`."""
    x, windows = plain.checked(x, kernel, **options)
    axes = axes_of(windows)
    return _in_blocks(lambda part: _row_maxima(part, axes)[1], x, axes)


def max_pool2d_backward(grad: Any, x: Any, kernel: Any, **options: Any) -> PoolingGradients:
    """See `ops.max_pool2d_backward`."""
    grad, x, windows = plain.checked_backward(grad, x, kernel, **options)
    rows, columns = axes = axes_of(windows)

    def backward(x: Array, grad: Array) -> Array:
        along_columns, y = _row_maxima(x, axes)
        if np.isnan(y).any():  # equal to nothing, so that no winner would be found below
            return unwrap(plain.max_pool2d_backward)(grad, x, kernel, **options).x
        d_along_columns = _to_winners(grad, along_columns, y, rows, ROWS)
        return _to_winners(d_along_columns, x, along_columns, columns, COLUMNS)

    return PoolingGradients(_in_blocks(backward, x, axes, grad))


def avg_pool2d(x: Any, kernel: Any, *, count_padding: bool = True, divisor: int | None = None, **options: Any) -> Array:
    """See `ops.avg_pool2d`."""
    x, windows = plain.checked(x, kernel, **options)
    axes, cells = axes_of(windows), plain.divisors(windows, count_padding, divisor).astype(x.dtype)
    return _in_blocks(lambda part: _windowed_sum(part, axes) / cells, x, axes)


def avg_pool2d_backward(
    grad: Any, x: Any, kernel: Any, *, count_padding: bool = True, divisor: int | None = None, **options: Any
) -> PoolingGradients:
    """See `ops.avg_pool2d_backward`."""
    grad, x, windows = plain.checked_backward(grad, x, kernel, **options)
    rows, columns = axes = axes_of(windows)
    cells = plain.divisors(windows, count_padding, divisor).astype(x.dtype)

    def backward(x: Array, grad: Array) -> Array:
        return _spread(_spread(grad / cells, rows, ROWS), columns, COLUMNS)

    return PoolingGradients(_in_blocks(backward, x, axes, grad))


def _in_blocks(work: Callable[..., Array], x: Array, axes: tuple[Axis, Axis], *more: Array) -> Array:
    """`work` of a few images (and the same images of further arrays) at a time, while they are in the cache."""
    step = max(1, CACHE // max(1, x[:1].nbytes))
    taps = axes[0].kernel + axes[1].kernel

    def part(images: slice, _: parallel.Workspace) -> list[Array]:
        edges = range(images.start, images.stop, step)
        blocks = [slice(start, min(start + step, images.stop)) for start in edges]
        return [work(x[block], *(a[block] for a in more)) for block in blocks]

    results = parallel.run(part, parallel.split(len(x), 8 * taps * x.size), x.dtype)
    blocks = [block for result in results for block in result]
    return np.concatenate(blocks) if blocks else work(x, *more)


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
    for outputs, inputs in axis.overlaps:
        target = along(y, number, outputs)
        combine(target, along(x, number, inputs), out=target)
    return y


def _spread(grad: Array, axis: Axis, number: int) -> Array:
    """The adjoint of a sum over windows: every cell gets the gradients of all windows that saw it."""
    shape = list(grad.shape)
    shape[number] = axis.size
    dx = np.zeros(shape, grad.dtype)
    for outputs, inputs in axis.overlaps:
        target = along(dx, number, inputs)
        target += along(grad, number, outputs)
    return dx


def _to_winners(grad: Array, x: Array, y: Array, axis: Axis, number: int) -> Array:
    """The adjoint of a maximum over windows: the first cell equal to the maximum takes the gradient."""
    dx = np.zeros_like(x)
    undecided = np.ones(y.shape, bool)
    for outputs, inputs in axis.overlaps:
        still = along(undecided, number, outputs)
        won = along(x, number, inputs) == along(y, number, outputs)
        won &= still
        still ^= won
        target = along(dx, number, inputs)
        target += kept(along(grad, number, outputs), won)
    return dx
