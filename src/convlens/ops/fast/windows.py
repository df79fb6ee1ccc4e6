"""Images laid out so that everything a kernel cell sees is one run of memory.

A convolution is a matrix product W @ P: row (c, i, j) of P holds what kernel cell (i, j) sees of channel c at every
output position ("im2col", Chellapilla, Puri and Simard, 2006). Building P cell by cell is slow and P is large. Here
each channel of a padded image is cut into stride_y * stride_x *phases*: phase (p, q) holds the cells (y, x) with
y mod stride_y = p, x mod stride_x = q. Within a phase neighboring outputs see neighboring cells, whatever the
stride, so row (c, i, j) of P is a phase shifted by whole cells: one contiguous copy. P is built for a tile of output
rows at a time, so that it stays in the processor's cache.

A tile covers either one image, with the columns that the shift drags in at the end of each row ("surplus": computed,
never used, multiplied by zeros in the backward pass), or several small images side by side in the last axis, so that
the runs are long nevertheless.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

from numpy.lib.stride_tricks import as_strided

from convlens.ops._types import Array
from convlens.ops._windows import Windows as PlainWindows
from convlens.ops.fast.parallel import Workspace

CACHE = 3 << 19  # bytes of one tile of P: it may spill out of the second-level cache a little, for fewer tiles
LONG_ROW = 32  # outputs per row from which one image at a time is faster than several side by side
SIDE_BY_SIDE = 16  # images, half as many where rows are not that short
LEAST_COLUMNS = 256  # of P, so that the matrix product has something to work on


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution or pooling: input size, kernel, stride, dilation, padding, output size."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    output: int

    def overlap(self, i: int) -> tuple[slice, slice] | None:
        """The outputs at which kernel cell i lies inside the input, and the input cells it sees there; None if none."""
        offset = i * self.dilation - self.before  # output o sees input cell o * stride + offset
        first = max(0, -(offset // self.stride))
        last = min(self.output - 1, (self.size - 1 - offset) // self.stride)
        if first > last:
            return None
        start, stop = first * self.stride + offset, last * self.stride + offset + 1
        return slice(first, last + 1), slice(start, stop, self.stride)

    @cached_property
    def overlaps(self) -> list[tuple[slice, slice]]:
        """`overlap` of each kernel cell that has one."""
        return [overlap for overlap in map(self.overlap, range(self.kernel)) if overlap is not None]

    @cached_property
    def taps(self) -> list[tuple[int, int]]:
        """(phase, shift) of each kernel cell: output o sees cell o + shift of that phase."""
        return [(i * self.dilation % self.stride, i * self.dilation // self.stride) for i in range(self.kernel)]

    @cached_property
    def phases(self) -> list[int]:
        """The phases that some kernel cell looks at."""
        return sorted({phase for phase, _ in self.taps})

    @cached_property
    def strides_of_taps(self) -> list[tuple[slice, slice, int]]:
        """(kernel cells, their phases, their common shift): cells that one copy serves. Together, all of the kernel.

        Without dilation the cells of one stride's length look at one phase each, all with the same shift.
        """
        if self.dilation == 1:
            starts = range(0, self.kernel, self.stride)
            cells = [slice(i, min(i + self.stride, self.kernel)) for i in starts]
            return [(run, slice(0, run.stop - run.start), run.start // self.stride) for run in cells]
        places = [(self.phases.index(phase), shift) for phase, shift in self.taps]
        return [(slice(i, i + 1), slice(p, p + 1), shift) for i, (p, shift) in enumerate(places)]

    @cached_property
    def cells(self) -> int:
        """How many cells of a phase the kernel can reach."""
        return self.output + max(shift for _, shift in self.taps)

    def interior(self, phase: int) -> tuple[slice, slice]:
        """Which input cells lie in this phase, and where: x[first slice] goes to phase[second slice]."""
        skipped = max(0, -((phase - self.before) // self.stride))
        first = skipped * self.stride + phase - self.before
        count = max(0, min(self.cells - skipped, -((first - self.size) // self.stride)))
        return slice(first, first + count * self.stride, self.stride), slice(skipped, skipped + count)

    @cached_property
    def sees_all(self) -> bool:
        """Whether every input cell lies in some window."""
        counts = [where.stop - where.start for _, where in map(self.interior, self.phases)]
        return sum(counts) == self.size


def axes_of(plain: PlainWindows) -> tuple[Axis, Axis]:
    """The rows and the columns of windows."""
    each = zip(plain.size, plain.kernel, plain.stride, plain.dilation, plain.around, plain.output, strict=True)
    rows, columns = (Axis(n, k, s, d, around[0], out) for n, k, s, d, around, out in each)
    return rows, columns


@dataclass(frozen=True)
class Windows:
    """Where a kernel looks: the two spatial axes of a convolution of (N, C, H, W) images."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, plain: PlainWindows) -> "Windows":
        """The same windows, as the plain operations know them."""
        return _windows(*axes_of(plain))

    @property
    def unit_stride(self) -> bool:
        return self.rows.stride == self.columns.stride == 1

    @property
    def output(self) -> tuple[int, int]:
        return self.rows.output, self.columns.output

    @property
    def kernel_cells(self) -> int:
        return self.rows.kernel * self.columns.kernel

    def images_side_by_side(self, n: int, channels: int, groups: int) -> int:
        """How many of n images to lay out together, so that what a kernel cell sees of a row is a long run."""
        row, positions = self.columns.output, prod(self.output)
        if row >= LONG_ROW or (self.kernel_cells == 1 and positions >= LEAST_COLUMNS // 2):
            return 1
        if groups == channels > 1 and row >= LONG_ROW // 4:
            return 1  # depthwise: products are cheap, also those with surplus, and copies are what costs
        fitting = CACHE // (channels * self.kernel_cells * positions * 4)
        wanted = min(2 * SIDE_BY_SIDE, max(fitting, SIDE_BY_SIDE if row < LONG_ROW // 2 else SIDE_BY_SIDE // 2))
        return -(-n // -(-n // wanted)) if n else 1  # blocks of about equal size

    @property
    def pointwise(self) -> bool:
        """Whether every output sees just the input cell at its own place, and images are not too small for that."""
        alone = self.kernel_cells == 1 and prod(self.output) >= LEAST_COLUMNS // 2
        return alone and all(a.stride == 1 and a.before == 0 and a.output == a.size for a in (self.rows, self.columns))

    def reversible(self, in_channels: int, out_channels: int) -> bool:
        """Whether the backward pass is a correlation as well (stride 1), and one with not many more products."""
        backward = out_channels * self.rows.size * self.columns.size
        return self.unit_stride and backward <= 2 * in_channels * prod(self.output)

    def reversed(self) -> "Windows":
        """At stride 1, how input cells look back at the outputs that saw them, with the kernel flipped."""
        return _windows(
            *(
                Axis(a.output, a.kernel, 1, a.dilation, (a.kernel - 1) * a.dilation - a.before, a.size)
                for a in (self.rows, self.columns)
            )
        )

    def macs(self, n: int, in_channels: int, out_channels: int, groups: int) -> int:
        return n * prod(self.output) * self.kernel_cells * in_channels * out_channels // groups


@lru_cache(256)
def _windows(rows: Axis, columns: Axis) -> Windows:
    """One object for one geometry: what it has worked out serves the next step of training as well."""
    return Windows(rows, columns)


class Planes:
    """A few images as phases: memory (C, phases, cells), cell (y, x) of image n at ((y * width) + x) * images + n."""

    def __init__(self, windows: Windows, channels: int, images: int, workspace: Workspace, name: str) -> None:
        self.windows, self.channels, self.images = windows, channels, images
        rows, columns = windows.rows, windows.columns
        self.width = columns.cells
        slack = self.width - columns.output  # the last surplus columns look past the end
        phases = len(rows.phases) * len(columns.phases)
        self.memory = workspace.array(name, (channels, phases, (rows.cells * self.width + slack) * images))
        self.clear()
        self.grid = self.memory[..., : rows.cells * self.width * images].reshape(
            channels, len(rows.phases), len(columns.phases), rows.cells, self.width, images
        )
        self.lines = self.grid.reshape(*self.grid.shape[:4], self.width * images)
        self.runs = self.memory.reshape(*self.grid.shape[:3], -1)
        self.columns = self.width if images == 1 else columns.output  # of a tile, surplus included

    def _interiors(self, x: Array) -> Iterator[tuple[Array, Array]]:
        """Pairs of views (part of the images, the same cells here), both (C, rows, columns, images)."""
        for p, phase in enumerate(self.windows.rows.phases):
            y_from, y_to = self.windows.rows.interior(phase)
            for q, phase_x in enumerate(self.windows.columns.phases):
                x_from, x_to = self.windows.columns.interior(phase_x)
                yield x[:, :, y_from, x_from].transpose(1, 2, 3, 0), self.grid[:, p, q, y_to, x_to]

    def clear(self) -> None:
        self.memory.fill(0)

    def place(self, x: Array) -> None:
        """Lays images (n, C, H, W) out; the padding around them is zero from the start and stays so."""
        for outside, inside in self._interiors(x):
            inside[...] = outside

    def collect(self, x: Array) -> None:
        """The inverse of `place`; input cells that no window sees become zero."""
        if not (self.windows.rows.sees_all and self.windows.columns.sees_all):
            x[...] = 0
        for outside, inside in self._interiors(x):
            outside[...] = inside

    def tiles(self) -> list[slice]:
        """Output rows cut so that P of each tile fits the cache."""
        row = self.columns * self.images
        fitting = CACHE // (self.channels * self.windows.kernel_cells * row * self.memory.itemsize)
        height = max(1, fitting, -(-LEAST_COLUMNS // row))
        output = self.windows.rows.output
        count = -(-output // height)
        return [slice(output * t // count, output * (t + 1) // count) for t in range(count)]

    def tile_shape(self, rows: slice) -> tuple[int, ...]:
        """Of what one kernel cell sees: one run if there is surplus between the rows, else rows of exact length."""
        height = rows.stop - rows.start
        return (height * self.width,) if self.images == 1 else (height, self.columns * self.images)

    def seen(self, rows: slice) -> Iterator[tuple[tuple[slice, slice], Array]]:
        """What kernel cells see at these output rows: ((i, j) of the cells, view (C, cells down, cells across, *tile)).

        Within a view every cell has the same shift, so that all of it is one operation of NumPy's.
        """
        height = rows.stop - rows.start
        for i, phases, down in self.windows.rows.strides_of_taps:
            for j, phases_x, right in self.windows.columns.strides_of_taps:
                top = rows.start + down
                if self.images == 1:
                    start = top * self.width + right
                    view = self.runs[:, phases, phases_x, start : start + height * self.width]
                else:
                    run = slice(right * self.images, (right + self.columns) * self.images)
                    view = self.lines[:, phases, phases_x, top : top + height, run]
                yield (i, j), view

    def all_seen(self, rows: slice) -> Array:
        """View (C, K_h, K_w, *tile_shape) of what all kernel cells see at these output rows, for stride 1."""
        down, right = self.windows.rows, self.windows.columns
        channel, cell = self.memory.strides[0], self.images * self.memory.itemsize
        line = self.width * cell
        shape = (self.channels, down.kernel, right.kernel, *self.tile_shape(rows))
        strides = (channel, down.dilation * line, right.dilation * cell, line, self.memory.itemsize)
        start = self.memory[:, 0, rows.start * self.width * self.images :]
        return as_strided(start, shape, strides if self.images > 1 else (*strides[:3], self.memory.itemsize))

    def patch_room(self, rows: slice, workspace: Workspace) -> Array:
        """Memory for P of a tile, (C, K_h, K_w, *tile_shape)."""
        kernel, shape = (self.windows.rows.kernel, self.windows.columns.kernel), self.tile_shape(rows)
        matrix = workspace.matrices("patches", (self.channels, self.windows.kernel_cells, prod(shape)))
        return matrix.reshape(self.channels, *kernel, *shape)

    def patches(self, rows: slice, workspace: Workspace) -> Array:
        """P of a tile, (C, K_h, K_w, *tile_shape)."""
        patches = self.patch_room(rows, workspace)
        if self.windows.unit_stride:
            patches[...] = self.all_seen(rows)
            return patches
        for (i, j), seen in self.seen(rows):
            patches[:, i, j] = seen
        return patches

    def add_patches(self, patches: Array, rows: slice) -> None:
        """The adjoint of `patches` ("col2im"): what each kernel cell saw is added where it saw it."""
        for (i, j), seen in self.seen(rows):
            seen += patches[:, i, j]

    def outputs(self, y: Array, rows: slice) -> Array:
        """View (images, C_out, rows, columns) of a matrix (C_out, columns of P), surplus left out."""
        tile = y.reshape(-1, rows.stop - rows.start, self.columns, self.images)
        return tile[:, :, : self.windows.columns.output].transpose(3, 0, 1, 2)
