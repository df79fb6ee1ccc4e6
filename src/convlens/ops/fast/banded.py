"""Convolutions whose channels see few others (depthwise above all), as products with banded matrices.

With one or two channels per group, the matrix product of `_correlate` is thin: reading P takes longer than multiplying
it. A row of t outputs is, however, itself a matrix product: of the cells under it with a banded (Toeplitz) matrix B,
which holds the kernel's row once in each column, a stride further down than in the column before,

    y[j] = sum over k of w[k] x[j s + k d] = (x @ B)[j],    B[j s + k d, j] = w[k].

Most of B is zero and multiplied all the same. In return P has K_h values per cell instead of K_h * K_w, and the product
has a shape that processors are good at. With B of all kernel rows and channels one below the other,

    Y = P @ B          dB = P.T @ G, from which dw is read off along the bands          dP = G @ B.T
"""

import itertools
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convlens.ops.fast.parallel import Workspace, run, split
from convlens.ops.fast.windows import Array, Axis, Windows

TILE = 16  # outputs that one row of P serves: with more, B is emptier; with fewer, it is narrow
CACHE = 3 << 20  # bytes of P at a time: beyond the second-level cache, but waiting for the GIL costs more
FEW_GROUPS = 8  # fewer are not shared out among threads: the images are
WORTH_A_PART = 12_000_000  # multiply-accumulates
BALANCE = 64  # multiply-accumulates that take as long as one value of P


class Bands:
    """Output rows in tiles of t outputs; the spans of cells that neighboring tiles see may overlap."""

    def __init__(self, windows: Windows) -> None:
        self.rows, self.columns = windows.rows, windows.columns
        self.tiles = -(-self.columns.output // TILE)
        self.tile = -(-self.columns.output // self.tiles)
        self.reach = _reach(self.columns, self.tile)
        self.height, self.width = _reach(self.rows, self.rows.output), _reach(self.columns, self.tiles * self.tile)
        self.down, self.right = _inside(self.rows, self.height), _inside(self.columns, self.width)
        self.seen = slice(0, self.reach)  # of the cells under a tile
        if self.tiles == 1:  # the columns of zeros beside the image need no room: B can do without their rows
            self.seen, cells = self.right
            self.width = cells.stop - cells.start
            self.right = slice(0, self.width), cells
        self.span = self.seen.stop - self.seen.start

    def matrix(self, w: Array) -> Array:
        """B for w (G, O, C, K_h, K_w): (G, C * K_h * span, t * O)."""
        groups, outputs, channels, height, width = w.shape
        b = np.zeros((groups, channels, height, self.span * self.tile, outputs), w.dtype)
        for k in range(width):
            b[:, :, :, self._band(k)] = w[..., k].transpose(0, 2, 3, 1)[:, :, :, None]
        return b.reshape(groups, channels * height * self.span, self.tile * outputs)

    def kernel(self, b: Array, shape: tuple[int, ...]) -> Array:
        """The adjoint of `matrix`: the sums along the bands, of this shape (G, O, C, K_h, K_w)."""
        groups, outputs, channels, height, width = shape
        b = b.reshape(groups, channels, height, self.span * self.tile, outputs)
        return np.stack([b[:, :, :, self._band(k)].sum(axis=3) for k in range(width)], axis=-1).transpose(0, 3, 1, 2, 4)

    def _band(self, k: int) -> slice:
        """Where kernel cell k of a row stands in B, of whose span and tile one axis has been made."""
        offset, stride = k * self.columns.dilation - self.seen.start, self.columns.stride
        first = max(0, -(offset // stride))  # the first output of the tile that sees a cell with it, and the last one
        last = min(self.tile - 1, (self.span - 1 - offset) // stride)
        start, step = (first * stride + offset) * self.tile + first, stride * self.tile + 1
        return slice(start, start + (last - first) * step + 1 if last >= first else start, step)

    def parts(self, n: int, groups: int, matrix: Array) -> list[slice]:
        """Cuts the work, for `blocks`: the groups if there are enough of them, else the images."""
        macs = n * self.rows.output * self.tiles * matrix.size
        return split(groups if groups >= FEW_GROUPS else n, macs, WORTH_A_PART)

    def blocks(self, part: slice, n: int, matrix: Array) -> Iterator[tuple[slice, slice, list[slice]]]:
        """Cuts a part so that P fits the cache: (groups, images, strips of output rows)."""
        all_groups = slice(0, len(matrix))
        groups, images = (part, slice(0, n)) if len(matrix) >= FEW_GROUPS else (all_groups, part)
        row = matrix[0, :, 0].size * matrix.itemsize * self.tiles
        n = max(1, min(images.stop - images.start, CACHE // (row * self.rows.output)))
        some = max(1, CACHE // (row * self.rows.output * n))
        strips = _cut(slice(0, self.rows.output), max(1, CACHE // row))
        for a, b in itertools.product(_cut(groups, some), _cut(images, n)):
            yield a, b, strips

    def padded(self, x: Array, workspace: Workspace, last: Array | None) -> Array:
        """Images (n, G, C, H, W) with zeros around them, as (G, n, C, height, width): in the last one's place if it is
        as large, where the zeros stand already."""
        if last is None or last.shape[:2] != x.shape[1::-1]:
            last = self.room(x, workspace, "x")
        outside, inside = self.inside(x, last)
        inside[...] = outside
        return last

    def room(self, x: Array, workspace: Workspace, name: str) -> Array:
        """Zeros (G, n, C, height, width): the cells that the kernels look at in images (n, G, C, H, W)."""
        n, groups, channels = x.shape[:3]
        room = workspace.array(name, (groups, n, channels, self.height, self.width))
        room.fill(0)
        return room

    def inside(self, x: Array, padded: Array) -> tuple[Array, Array]:
        """The cells of the images that are looked at, and their places in `padded`: (G, n, C, rows, columns)."""
        return x[..., self.down[1], self.right[1]].swapaxes(0, 1), padded[..., self.down[0], self.right[0]]

    def patches(self, padded: Array, rows: slice, workspace: Workspace) -> Array:
        """P of these output rows: what each tile sees, (G, n * rows * tiles, C * K_h * span)."""
        g, n, c, y, x = padded.strides
        groups, images, channels = padded.shape[:3]
        shape = (groups, images, rows.stop - rows.start, self.tiles, channels, self.rows.kernel, self.span)
        strides = (g, n, y * self.rows.stride, x * self.columns.stride * self.tile, c, y * self.rows.dilation, x)
        patches = workspace.array("patches", shape)
        patches[...] = as_strided(padded[..., rows.start * self.rows.stride :, :], shape, strides)
        return patches.reshape(groups, -1, channels * self.rows.kernel * self.span)

    def add_patches(self, patches: Array, padded: Array, rows: slice) -> None:
        """The adjoint of `patches`: what each tile saw is added where it saw it."""
        groups, images, channels = padded.shape[:3]
        shape = (groups, images, rows.stop - rows.start, self.tiles, channels, self.rows.kernel, self.span)
        seen = patches.reshape(shape).transpose(3, 5, 0, 1, 4, 2, 6)
        stride, step = self.rows.stride, self.tile * self.columns.stride
        for tile, i in itertools.product(range(self.tiles), range(self.rows.kernel)):
            top = rows.start * stride + i * self.rows.dilation
            bottom = top + (rows.stop - rows.start - 1) * stride + 1
            padded[..., top:bottom:stride, tile * step : tile * step + self.span] += seen[tile, i]

    def images(self, y: Array, n: int) -> Array:
        """View (n, G, O, rows, W_out) of a matrix (G, n * rows * tiles, t * O)."""
        y = y.reshape(len(y), n, -1, self.tiles * self.tile, y.shape[2] // self.tile)
        return y[:, :, :, : self.columns.output].transpose(1, 0, 4, 2, 3)

    def matrix_of(self, y: Array, workspace: Workspace) -> Array:
        """The inverse: (n, G, O, rows, W_out) as a matrix (G, n * rows * tiles, t * O), zero beyond the images."""
        n, groups, outputs, rows, _ = y.shape
        matrix = workspace.array("product", (groups, n * rows * self.tiles, self.tile * outputs))
        if self.tiles * self.tile > self.columns.output:
            matrix.fill(0)
        self.images(matrix, n)[...] = y
        return matrix


@lru_cache(256)
def _bands(windows: Windows) -> Bands:
    return Bands(windows)


def worthwhile(windows: Windows, channels: int, outputs: int, groups: int) -> bool:
    """Whether the smaller P saves more than the larger product costs, for so many channels and outputs per group."""
    if groups > 1 and channels * outputs > 2:
        return False
    bands, kernel = _bands(windows), windows.columns.kernel
    return bands.span > 0 and outputs * (bands.span - kernel) < BALANCE * (kernel - bands.span / bands.tile)


def banded_correlate(
    x: Array, w: Array, b: Array | None, windows: Windows, groups: int, *, against: Array | None = None
) -> tuple[Array, Array | None]:
    """`_correlate.correlate`, for groups of few channels."""
    bands, n = _bands(windows), len(x)
    kernels, matrix = _by_group(w, groups, bands)
    bias = None if b is None else _repeated(b.reshape(groups, 1, -1), bands.tile)
    y = np.empty((n, len(w), *windows.output), x.dtype)
    xs, ys, gs = (_grouped(a, groups) for a in (x, y, against))
    assert xs is not None
    assert ys is not None

    def work(part: slice, workspace: Workspace) -> _Shares:
        shares: _Shares = {}
        padded = None
        for some, images, strips in bands.blocks(part, n, matrix):
            padded = bands.padded(xs[images, some], workspace, padded)
            for rows in strips:
                patches = bands.patches(padded, rows, workspace)
                if gs is not None:
                    _add(shares, some, patches, bands.matrix_of(gs[images, some, :, rows], workspace))
                product = workspace.array("product", (*patches.shape[:2], matrix.shape[2]))
                np.matmul(patches, matrix[some], out=product)
                if bias is not None:
                    product += bias[some]
                ys[images, some, :, rows] = bands.images(product, images.stop - images.start)
        return shares

    parts = run(work, bands.parts(n, groups, matrix), x.dtype)
    return y, None if against is None else bands.kernel(_total(parts, matrix), kernels.shape).reshape(w.shape)


def banded_correlate_backward(
    grad: Array, x: Array | None, w: Array, windows: Windows, groups: int, *, need_x: bool = True
) -> tuple[Array | None, Array | None]:
    """`_correlate.correlate_backward`, for groups of few channels."""
    bands, n = _bands(windows), len(grad)
    kernels, matrix = _by_group(w, groups, bands)
    dx = np.zeros((n, groups * w.shape[1], bands.rows.size, bands.columns.size), grad.dtype) if need_x else None
    xs, dxs, gs = (_grouped(a, groups) for a in (x, dx, grad))
    assert gs is not None

    def work(part: slice, workspace: Workspace) -> _Shares:
        shares: _Shares = {}
        padded = None
        for some, images, strips in bands.blocks(part, n, matrix):
            padded = None if xs is None else bands.padded(xs[images, some], workspace, padded)
            dpadded = None if dxs is None else bands.room(dxs[images, some], workspace, "dx")
            for rows in strips:
                g = bands.matrix_of(gs[images, some, :, rows], workspace)
                if padded is not None:
                    _add(shares, some, bands.patches(padded, rows, workspace), g)
                if dpadded is not None:
                    patches = workspace.array("patches", (*g.shape[:2], matrix.shape[1]))
                    np.matmul(g, matrix[some].swapaxes(1, 2), out=patches)
                    bands.add_patches(patches, dpadded, rows)
            if dxs is not None and dpadded is not None:
                outside, inside = bands.inside(dxs[images, some], dpadded)
                outside[...] = inside
        return shares

    parts = run(work, bands.parts(n, groups, matrix), grad.dtype)
    return dx, None if x is None else bands.kernel(_total(parts, matrix), kernels.shape).reshape(w.shape)


_Shares = dict[tuple[int, int], Array]
"""Of dB, found in one part of the work: by the first group and the one after the last."""


def _add(shares: _Shares, groups: slice, patches: Array, g: Array) -> None:
    """dB += P.T @ G, for these groups."""
    share = patches.swapaxes(1, 2) @ g
    key = groups.start, groups.stop
    shares[key] = shares[key] + share if key in shares else share


def _total(parts: list[_Shares], matrix: Array) -> Array:
    """dB, with the shape of B."""
    db = np.zeros_like(matrix)
    for shares in parts:
        for (first, beyond), share in shares.items():
            db[first:beyond] += share
    return db


def _by_group(w: Array, groups: int, bands: Bands) -> tuple[Array, Array]:
    """w as (G, O, C, K_h, K_w), and its B."""
    kernels = w.reshape(groups, len(w) // groups, *w.shape[1:])
    return kernels, bands.matrix(kernels)


def _grouped(images: Array | None, groups: int) -> Array | None:
    """(N, G C, ...) as (N, G, C, ...)."""
    return None if images is None else images.reshape(len(images), groups, images.shape[1] // groups, *images.shape[2:])


def _repeated(b: Array, tile: int) -> Array:
    """The bias (G, 1, O) for a row (t * O) of outputs; a single number serves the row as it is."""
    return b if b.shape[2] == 1 else np.tile(b, tile)


def _reach(axis: Axis, outputs: int) -> int:
    """How many cells lie under this many neighboring outputs."""
    return (outputs - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1


def _inside(axis: Axis, reach: int) -> tuple[slice, slice]:
    """Which of the cells under the outputs lie in the image, and which cells of the image these are."""
    start = max(0, axis.before)
    count = max(0, min(axis.size + axis.before, reach) - start)
    return slice(start, start + count), slice(start - axis.before, start - axis.before + count)


def _cut(whole: slice, most: int) -> list[slice]:
    """Pieces of about equal length, at most so long."""
    length = whole.stop - whole.start
    pieces = -(-length // most)
    edges = [whole.start + length * p // pieces for p in range(pieces + 1)] if pieces else []
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
