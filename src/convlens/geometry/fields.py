"""The algebra of receptive fields: which input cells a cell of a layer can see, along one spatial axis."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from convlens.geometry.sizes import adaptive_cells, effective_kernel, upsampled_cells


@dataclass(frozen=True)
class ReceptiveField:
    """Which input cells one output cell of a layer can see, along one axis.

    Output cell i sees input cells start + i * jump ... start + i * jump + size - 1; cells outside the input are
    padding. Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", 2019.
    """

    size: int = 1
    jump: int = 1
    start: int = 0

    def window(self, k: int, s: int = 1, before: int = 0, d: int = 1) -> "ReceptiveField":
        """The field after a convolution or pooling with this kernel, stride, padding before, and dilation."""
        return ReceptiveField(
            size=self.size + (effective_kernel(k, d) - 1) * self.jump,
            jump=self.jump * s,
            start=self.start - before * self.jump,
        )

    def span(self, index: int) -> tuple[int, int]:
        """First and last input cell (inclusive, may lie in the padding) that output cell `index` sees."""
        first = self.start + index * self.jump
        return first, first + self.size - 1


Span = tuple[int, int]  # first and last cell, both included


def hull(spans: Iterable[Span | None]) -> Span | None:
    """The smallest span that holds them all; None (sees nothing) where all are None."""
    known = [span for span in spans if span is not None]
    return (min(a for a, _ in known), max(b for _, b in known)) if known else None


@dataclass(frozen=True)
class FieldMap:
    """The receptive field of every cell of a layer, along one axis, exactly: `ReceptiveField` for any network.

    After a transposed convolution or upsampling the cells take turns: cell i + period sees what cell i sees,
    moved by `advance` input cells. A plain chain of convolutions and poolings has period 1, and is then the
    same as a `ReceptiveField`. Where nothing repeats (concatenation along the axis), `advance` is None and `cells`
    lists all there are. Spans may reach beyond the input, into the padding, as in the usual formulas.

    Attributes:
        cells: what each cell of one period sees, None if nothing of the input.
        advance: input cells from one period to the next.
    """

    cells: tuple[Span | None, ...] = ((0, 0),)
    advance: int | None = 1

    def at(self, i: int) -> Span | None:
        """What cell i sees. Cells that are not there (listed cells only) see nothing."""
        if self.advance is None:
            return self.cells[i] if 0 <= i < len(self.cells) else None
        turn, phase = divmod(i, len(self.cells))
        span = self.cells[phase]
        return span and (span[0] + turn * self.advance, span[1] + turn * self.advance)

    def through(self, reads: Callable[[int], Iterable[int]], count: int, *, rise: int = 1, run: int = 1) -> "FieldMap":
        """The fields after a layer whose output cell j reads the cells `reads(j)`.

        `reads` repeats: cell j + run reads what j reads, `rise` cells further on. `count` is the number of outputs.
        """
        if self.advance is None:
            return FieldMap(tuple(hull(map(self.at, reads(j))) for j in range(count)), None)
        periods = len(self.cells) // gcd(len(self.cells), rise)
        cells = tuple(hull(map(self.at, reads(j))) for j in range(run * periods))
        return FieldMap(cells, self.advance * periods * rise // len(self.cells))

    def window(self, k: int, s: int, before: int, d: int, count: int) -> "FieldMap":
        """After a convolution or pooling."""
        return self.through(lambda j: range(j * s - before, j * s - before + effective_kernel(k, d), d), count, rise=s)

    def transposed(self, k: int, s: int, before: int, d: int, count: int) -> "FieldMap":
        """After a transposed convolution: output j reads input i where j = i s - before + t d for a tap t < k."""

        def reads(j: int) -> list[int]:
            return [(j + before - t * d) // s for t in range(k) if (j + before - t * d) % s == 0]

        return self.through(reads, count, run=s)

    def adaptive(self, n: int, m: int) -> "FieldMap":
        """After adaptive pooling from n cells to m."""
        common = gcd(n, m)
        return self.through(lambda j: adaptive_cells(j, n, m), m, rise=n // common, run=m // common)

    def resized(self, n: int, m: int, *, linear: bool = False, align_corners: bool = False) -> "FieldMap":
        """After upsampling or resizing from n cells to m."""
        rise, run = (n - 1, m - 1) if linear and align_corners and min(n, m) > 1 else (n, m)
        common = gcd(rise, run)

        def reads(j: int) -> tuple[int, ...]:
            return upsampled_cells(j, n, m, linear=linear, align_corners=align_corners)

        return self.through(reads, m, rise=rise // common, run=run // common)

    def shifted(self, start: int, step: int, count: int) -> "FieldMap":
        """After slicing from `start` in steps of `step`; a negative start is padding before."""
        return self.through(lambda j: (start + j * step,), count, rise=step)

    def union(self, other: "FieldMap", count: int) -> "FieldMap":
        """Of a sum or a concatenation of channels: each cell sees what it sees through either branch."""
        ours, theirs = len(self.cells), len(other.cells)
        advance = self.advance
        if advance is None or other.advance is None or advance * theirs != other.advance * ours:
            return FieldMap(tuple(hull((self.at(i), other.at(i))) for i in range(count)), None)
        period = lcm(ours, theirs)
        return FieldMap(tuple(hull((self.at(i), other.at(i))) for i in range(period)), advance * period // ours)

    def collapse(self, count: int, extent: int) -> Span | None:
        """What a cell sees that reads all `count` cells of this axis, cut off at the input's `extent`."""
        ends = min(count, len(self.cells))  # the first and last period hold the extremes
        span = hull(self.at(i) for i in (*range(ends), *range(count - ends, count)))
        return span and (max(span[0], 0), min(span[1], extent - 1))

    @property
    def size(self) -> int:
        """Input cells from the first to the last that one cell sees; the largest of all cells."""
        return max((b - a + 1 for a, b in filter(None, self.cells)), default=0)

    @property
    def jump(self) -> Fraction | None:
        """Input cells from one cell's field to the next one's, on average (1/2 after upsampling by two)."""
        return None if self.advance is None else Fraction(self.advance, len(self.cells))

    @property
    def start(self) -> int | None:
        """First input cell that cell 0 sees; negative in the padding."""
        return self.cells[0] and self.cells[0][0]
