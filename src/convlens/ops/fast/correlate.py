"""The matrix products of a convolution, tile by tile, for all convolutions of this package.

With W the weight as (C_out, C_in * K_h * K_w), P the patches of x (see `_windows`) and G the gradient of Y as
(C_out, positions):

    Y = W @ P          dW = G @ P.T          dP = W.T @ G, added back to where the patches came from

With groups, each group of channels has its own W, P and Y, and the products are batched over the groups.
"""

import math
from collections.abc import Iterator

import numpy as np

from convlens.ops.fast.banded import banded_correlate, banded_correlate_backward, worthwhile
from convlens.ops.fast.parallel import Workspace, run, split
from convlens.ops.fast.windows import Array, Planes, Windows

WORTH_A_PART = 32_000_000  # multiply-accumulates; with less, threads mostly wait for each other at Python's lock


def correlate(
    x: Array, w: Array, b: Array | None, windows: Windows, groups: int, *, against: Array | None = None
) -> tuple[Array, Array | None]:
    """Y = W @ P + b, and G @ P.T if there is a G.

    Args:
        x: (N, C_in, H, W).
        w: (C_out, C_in / groups, K_h, K_w).
        b: (C_out), or None.
        against: G as images (N, C_out, H_out, W_out), or None.

    Returns:
        Y as images (N, C_out, H_out, W_out), and G @ P.T with the shape of w, or None.
    """
    n, c_in, c_out = len(x), x.shape[1], len(w)
    if worthwhile(windows, c_in // groups, c_out // groups, groups):
        return banded_correlate(x, w, b, windows, groups, against=against)
    y = np.empty((n, c_out, *windows.output), x.dtype)
    if windows.pointwise:
        return y, _pointwise(x, w, b, y, groups, against=against)
    matrix = w.reshape(groups, c_out // groups, -1)
    bias = None if b is None else b.reshape(groups, -1, 1)

    def work(part: slice, workspace: Workspace) -> Array | None:
        dw = None
        for images, planes in _blocks(windows, c_in, groups, part, workspace, "x"):
            planes.place(x[images])
            for rows in planes.tiles():
                patches = planes.patches(rows, workspace).reshape(groups, matrix.shape[2], -1)
                if against is not None:
                    g = _matrix_of(against, images, rows, planes, groups, workspace)
                    dw = _weight_gradient(dw, patches, g, workspace)
                product = workspace.matrices("product", (groups, matrix.shape[1], patches.shape[2]))
                np.matmul(matrix, patches, out=product)
                if bias is not None:
                    product += bias
                y[images, :, rows] = planes.outputs(product, rows)
        return dw

    parts = run(work, split(n, windows.macs(n, c_in, c_out, groups), WORTH_A_PART), x.dtype)
    return y, None if against is None else _total(parts, w)


def correlate_backward(
    grad: Array, x: Array | None, w: Array, windows: Windows, groups: int, *, need_x: bool = True
) -> tuple[Array | None, Array | None]:
    """Gradients of Y with respect to x and w, for grad (N, C_out, H_out, W_out).

    Without x only the first can be had; without `need_x` only the second is computed. What is not computed is None.
    """
    n, c_out, c_in = len(grad), len(w), w.shape[1] * groups
    if x is not None and need_x and (windows.pointwise or windows.reversible(c_in, c_out)):
        return _backward_as_correlation(grad, x, w, windows, groups)
    if worthwhile(windows, c_in // groups, c_out // groups, groups):
        return banded_correlate_backward(grad, x, w, windows, groups, need_x=need_x)
    matrix = w.reshape(groups, c_out // groups, -1)
    dx = np.empty((n, c_in, windows.rows.size, windows.columns.size), grad.dtype) if need_x else None
    if windows.pointwise:
        if dx is not None:
            _pointwise(grad, _transposed(w, groups), None, dx, groups)
        return dx, None if x is None else _pointwise(x, w, None, None, groups, against=grad)

    def work(part: slice, workspace: Workspace) -> Array | None:
        dw = None
        for images, planes, dplanes in _blocks(windows, c_in, groups, part, workspace, "x", "dx"):
            if x is not None:
                planes.place(x[images])
            dplanes.clear()
            for rows in planes.tiles():
                g = _matrix_of(grad, images, rows, planes, groups, workspace)
                if x is not None:
                    dw = _weight_gradient(dw, planes.patches(rows, workspace), g, workspace)
                if dx is not None:
                    patches = dplanes.patch_room(rows, workspace)
                    np.matmul(matrix.swapaxes(1, 2), g, out=patches.reshape(groups, -1, g.shape[2]))
                    dplanes.add_patches(patches, rows)
            if dx is not None:
                dplanes.collect(dx[images])
        return dw

    parts = run(work, split(n, windows.macs(n, c_in, c_out, groups), WORTH_A_PART), grad.dtype)
    return dx, None if x is None else _total(parts, w)


def all_finite(*arrays: Array | None) -> bool:
    """Whether the arrays hold neither infinities nor NaN, nor numbers whose squares overflow (which does no harm).

    The tiled products multiply what no kernel cell sees by zero. That is nothing for numbers, but 0 * inf and 0 * NaN
    are NaN, which would spread to outputs that never saw such a cell: there the plain form must do the work.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return all(math.isfinite(np.vdot(a, a)) for a in arrays if a is not None)


def bias_gradient(grad: Array) -> Array:
    """The sum of grad (N, C, H, W) over all but the channels, in float64: its terms may cancel."""

    def work(part: slice, _: Workspace) -> Array:
        return grad[part].sum(axis=0, dtype=np.float64).sum(axis=(1, 2))  # in this order: long runs of memory

    return np.sum(run(work, split(len(grad), 8 * grad.size), grad.dtype), axis=0).astype(grad.dtype)


def _backward_as_correlation(
    grad: Array, x: Array, w: Array, windows: Windows, groups: int
) -> tuple[Array | None, Array | None]:
    """The same for stride 1, where the backward pass is itself a correlation: each input cell looks back at outputs.

    The kernel is flipped and its channels change places; then dx = W' @ P' and dW' = X @ P'.T for patches P' of grad.
    One set of patches serves both, and nothing needs adding up.
    """
    flipped = np.ascontiguousarray(_transposed(w, groups)[..., ::-1, ::-1])
    dx, dw = correlate(grad, flipped, None, windows.reversed(), groups, against=x)
    assert dw is not None
    return dx, np.ascontiguousarray(_transposed(dw, groups)[..., ::-1, ::-1])


def _transposed(w: Array, groups: int) -> Array:
    """(C_out, C_in / groups, ...) to (C_in, C_out / groups, ...)."""
    by_group = w.reshape(groups, len(w) // groups, *w.shape[1:]).swapaxes(1, 2)
    return by_group.reshape(w.shape[1] * groups, len(w) // groups, *w.shape[2:])


def _pointwise(
    x: Array, w: Array, b: Array | None, y: Array | None, groups: int, *, against: Array | None = None
) -> Array | None:
    """`correlate` of a kernel with one cell: P is x itself, and Y is computed where it belongs (None: not wanted)."""
    matrix = w.reshape(groups, len(w) // groups, -1)
    patches, products, g = (
        None if a is None else a.reshape(len(a), groups, a.shape[1] // groups, -1) for a in (x, y, against)
    )
    assert patches is not None

    def work(part: slice, workspace: Workspace) -> Array | None:
        dw = None
        for image in range(part.start, part.stop):  # one at a time: the next step meets it while it is in the cache
            if g is not None:
                dw = _weight_gradient(dw, patches[image], g[image], workspace)
            if products is not None:
                np.matmul(matrix, patches[image], out=products[image])
                if b is not None:
                    products[image] += b.reshape(groups, -1, 1)
        return dw

    parts = run(work, split(len(x), x.size * len(w) // groups), x.dtype)
    return None if against is None else _total(parts, w)


def _blocks(
    windows: Windows, channels: int, groups: int, part: slice, workspace: Workspace, *names: str
) -> Iterator[tuple[slice, *tuple[Planes, ...]]]:
    """The images of a part, a few at a time, with memory to lay them out in: one for each name."""
    step = windows.images_side_by_side(part.stop - part.start, channels, groups)
    planes: list[Planes] = []
    for start in range(part.start, part.stop, step):
        images = slice(start, min(start + step, part.stop))
        if not planes or planes[0].images != images.stop - start:
            planes = [Planes(windows, channels, images.stop - start, workspace, name) for name in names]
        yield images, *planes


def _matrix_of(images: Array, block: slice, rows: slice, planes: Planes, groups: int, workspace: Workspace) -> Array:
    """These rows of output-sized images as a matrix (groups, C_out / groups, columns of P), surplus zero."""
    channels, columns = images.shape[1], math.prod(planes.tile_shape(rows))
    shape = (groups, channels // groups, columns)
    surplus = planes.columns != planes.windows.columns.output
    if planes.images == 1 and not surplus:
        return images[block.start, :, rows].reshape(shape)
    matrix = workspace.matrices("matrix", shape)
    if surplus:
        matrix.fill(0)
    planes.outputs(matrix, rows)[...] = images[block, :, rows]
    return matrix


def _weight_gradient(dw: Array | None, patches: Array, g: Array, workspace: Workspace) -> Array:
    """What has been added up so far (None: nothing) and G @ P.T of one more tile, both in one new or the old array.

    Kept as P @ G.T if P has more rows than G: a product is fastest with the larger matrix in front.
    """
    patches = patches.reshape(len(g), -1, g.shape[2])
    a, b = (patches, g) if patches.shape[1] > g.shape[1] else (g, patches)
    if dw is None:
        return np.matmul(a, b.swapaxes(1, 2))
    dw += np.matmul(a, b.swapaxes(1, 2), out=workspace.array("dw", dw.shape))
    return dw


def _total(parts: list[Array | None], w: Array) -> Array:
    """The sum of the parts' dW (None: a part without images), with the shape of w."""
    found = [part for part in parts if part is not None]
    if not found:
        return np.zeros_like(w)
    dw = found[0]
    for other in found[1:]:
        dw += other
    if w[0].size > len(w) // len(dw):  # it is dW.T, see `_weight_gradient`
        dw = dw.swapaxes(1, 2)
    return np.ascontiguousarray(dw).reshape(w.shape)
