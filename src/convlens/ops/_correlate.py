"""The three matrix products of a convolution, tile by tile, for all convolutions of this package.

With W (C_out, C_in * K_h * K_w), P the patches of x (see `_windows`), and G the gradient of Y as (C_out, positions):

    Y = W @ P          dW = G @ P.T          dP = W.T @ G, added back to where P came from

With groups, each group of channels has its own W, P and Y, and the products are batched over the groups.
"""

import math
from collections.abc import Iterator

import numpy as np

from convlens.ops import _parallel
from convlens.ops._windows import Array, Planes, Windows


def correlate(x: Array, w: Array, b: Array | None, windows: Windows, groups: int) -> Array:
    """x (N, C_in, H, W), w (C_out, C_in/groups, K_h, K_w), b (C_out) or None -> (N, C_out, H_out, W_out)."""
    n, c_in, c_out = len(x), x.shape[1], len(w)
    y = np.empty((n, c_out, *windows.output), x.dtype)
    matrix = w.reshape(groups, c_out // groups, -1)
    bias = None if b is None else b[:, None, None]

    def work(part: slice) -> None:
        for images, planes in _blocks(windows, c_in, part, x.dtype):
            planes.place(x[images])
            tiles = planes.tiles()
            buffer = _buffer(planes, tiles)
            for rows in tiles:
                patches = planes.patches(rows, buffer)
                product = matrix @ patches.reshape(groups, matrix.shape[2], -1)
                outputs = planes.outputs(product, rows)
                target = y[images, :, rows]
                if bias is None:
                    target[...] = outputs
                else:
                    np.add(outputs, bias, out=target)

    _parallel.run(work, _parallel.split(n, windows.macs(n, c_in, c_out, groups)))
    return y


def correlate_backward(
    grad: Array, x: Array | None, w: Array, windows: Windows, groups: int, *, needs_x: bool = True
) -> tuple[Array | None, Array | None]:
    """Gradients with respect to x and w, for grad (N, C_out, H_out, W_out).

    Without x only the first can be had; without `needs_x` only the second is computed. What is not computed is None.
    """
    n, c_out, c_in = len(grad), len(w), w.shape[1] * groups
    matrix = w.reshape(groups, c_out // groups, -1)
    dx = np.empty((n, c_in, windows.rows.size, windows.columns.size), grad.dtype) if needs_x else None

    def work(part: slice) -> Array:
        dw = np.zeros_like(matrix)
        for images, planes in _blocks(windows, c_in, part, grad.dtype):
            if x is not None:
                planes.place(x[images])
            dplanes = Planes(windows, c_in, planes.images, grad.dtype) if needs_x else None
            tiles = planes.tiles()
            buffer = _buffer(planes, tiles)
            for rows in tiles:
                columns = math.prod(planes.tile_shape(rows))
                g = np.zeros((c_out, columns), grad.dtype)
                planes.outputs(g, rows)[...] = grad[images, :, rows]
                g = g.reshape(groups, c_out // groups, columns)
                if x is not None:
                    patches = planes.patches(rows, buffer).reshape(groups, -1, columns)
                    dw += g @ patches.swapaxes(1, 2)
                if dplanes is not None:
                    patches = planes.shaped(buffer, rows)
                    np.matmul(matrix.swapaxes(1, 2), g, out=patches.reshape(groups, -1, columns))
                    dplanes.add_patches(patches, rows)
            if dplanes is not None:
                dplanes.collect(dx[images])
        return dw

    parts = _parallel.run(work, _parallel.split(n, windows.macs(n, c_in, c_out, groups)))
    return dx, None if x is None else sum(parts).reshape(w.shape)


def _blocks(windows: Windows, channels: int, part: slice, dtype: np.dtype) -> Iterator[tuple[slice, Planes]]:
    """The images of a part, a few at a time, with the memory to lay them out in (the same for blocks of one size)."""
    step = windows.images_side_by_side(part.stop - part.start)
    planes = None
    for start in range(part.start, part.stop, step):
        images = slice(start, min(start + step, part.stop))
        if planes is None or planes.images != images.stop - start:
            planes = Planes(windows, channels, images.stop - start, dtype)
        yield images, planes


def _buffer(planes: Planes, tiles: list[slice]) -> Array:
    """Room for P of the largest tile."""
    largest = max(tiles, key=lambda rows: rows.stop - rows.start)
    cells = planes.channels * len(planes.windows.taps) * math.prod(planes.tile_shape(largest))
    return np.empty(cells, planes.memory.dtype)
