"""Convolution kernel cell by kernel cell, as it is defined: what the tiled products fall back to.

They multiply what no kernel cell sees by zero. That is nothing for numbers, but 0 * inf and 0 * NaN are NaN, which
would spread to outputs that never saw such a cell. Here only what meets is multiplied. In the formulas g is the group,
o and c are channels of outputs and inputs within it.
"""

from collections.abc import Iterator
from itertools import product
from math import isfinite

import numpy as np

from convlens.ops._windows import Array, Windows

Place = tuple[slice, slice]


def all_finite(*arrays: Array | None) -> bool:
    """Whether the arrays hold neither infinities nor NaN, nor numbers whose squares overflow (which does no harm)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(isfinite(np.vdot(a, a)) for a in arrays if a is not None)


def plain_correlate(
    x: Array, w: Array, b: Array | None, windows: Windows, groups: int, *, against: Array | None = None
) -> tuple[Array, Array | None]:
    """As `correlate`: y[n, g, o] += w[g, o, c, i, j] * (what cell (i, j) sees of x[n, g, c]), and the gradient of w."""
    y = np.zeros((len(x), len(w), *windows.output), x.dtype)
    images, outputs, kernels = _grouped(x, groups), _grouped(y, groups), _grouped(w[None], groups)[0]
    for (i, j), seen_at, seen in _met(windows):
        outputs[..., *seen_at] += np.einsum("goc,ngchw->ngohw", kernels[..., i, j], images[..., *seen])
    if b is not None:
        y += b[:, None, None]
    return y, None if against is None else _weight_gradient(against, x, w, windows, groups)


def plain_correlate_backward(
    grad: Array, x: Array | None, w: Array, windows: Windows, groups: int, *, need_x: bool = True
) -> tuple[Array | None, Array | None]:
    """As `correlate_backward`: what cell (i, j) saw of x[n, g, c] receives w[g, o, c, i, j] * grad[n, g, o]."""
    dw = None if x is None else _weight_gradient(grad, x, w, windows, groups)
    if not need_x:
        return None, dw
    dx = np.zeros((len(grad), w.shape[1] * groups, windows.rows.size, windows.columns.size), grad.dtype)
    received, given, kernels = _grouped(dx, groups), _grouped(grad, groups), _grouped(w[None], groups)[0]
    for (i, j), seen_at, seen in _met(windows):
        received[..., *seen] += np.einsum("goc,ngohw->ngchw", kernels[..., i, j], given[..., *seen_at])
    return dx, dw


def _weight_gradient(grad: Array, x: Array, w: Array, windows: Windows, groups: int) -> Array:
    """dw[g, o, c, i, j] = sum over n and places of grad[n, g, o] * (what cell (i, j) sees of x[n, g, c])."""
    dw = np.zeros(w.shape, w.dtype)
    gradients, given, images = _grouped(dw[None], groups)[0], _grouped(grad, groups), _grouped(x, groups)
    for (i, j), seen_at, seen in _met(windows):
        gradients[..., i, j] = np.einsum("ngohw,ngchw->goc", given[..., *seen_at], images[..., *seen])
    return dw


def _grouped(a: Array, groups: int) -> Array:
    """View of (N, C, ...) as (N, groups, C / groups, ...)."""
    return a.reshape(len(a), groups, a.shape[1] // groups, *a.shape[2:])


def _met(windows: Windows) -> Iterator[tuple[tuple[int, int], Place, Place]]:
    """For each kernel cell (i, j) that meets the input somewhere: at which outputs, and the cells it sees there."""
    for i, j in product(range(windows.rows.kernel), range(windows.columns.kernel)):
        down, right = windows.rows.meeting(i), windows.columns.meeting(j)
        if down and right:
            yield (i, j), (down[0], right[0]), (down[1], right[1])
