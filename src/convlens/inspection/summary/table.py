"""The summary as a table for the terminal: a tree of module names, aligned numbers, totals, and what was counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from convlens.base.words import bytes_text, percent
from convlens.geometry import FieldMap
from convlens.inspection.costs import MAC_CONVENTION

if TYPE_CHECKING:
    from convlens.inspection.summary.summary import Layer, Summary

_UNLIMITED = 10_000  # columns


@dataclass(frozen=True)
class Line:
    """One line of the tree: a group (no layers of its own shown), or a layer, or a folded group."""

    depth: int
    label: str
    kind: str
    layers: "tuple[Layer, ...]" = ()  # whose numbers the line adds up; the last one gives shape and field

    @property
    def is_heading(self) -> bool:
        return not self.layers


def lines(summary: "Summary", depth: int | None = None) -> Iterator[Line]:
    """The tree in order of execution. Modules deeper than `depth` are folded into one line."""
    open_groups: list[str] = []
    folded: list[Layer] = []
    for position, layer in enumerate(summary.layers):
        groups = _groups_of(layer, summary)
        limit = len(groups) if depth is None else min(depth, len(groups) + 1) - 1
        headings, fold = groups[:limit], groups[limit : limit + 1]
        same = 0
        while same < min(len(open_groups), len(headings)) and open_groups[same] == headings[same]:
            same += 1
        for level in range(same, len(headings)):
            yield Line(level, _last(headings[level], headings[:level]), summary.groups[headings[level]])
        open_groups = headings
        if fold:
            folded.append(layer)
            following = summary.layers[position + 1] if position + 1 < len(summary.layers) else None
            if following is None or _groups_of(following, summary)[: limit + 1] != groups[: limit + 1]:
                yield Line(limit, _last(fold[0], headings), summary.groups[fold[0]], tuple(folded))
                folded = []
        else:
            yield Line(len(headings), _last(layer.name, headings), "" if layer.is_function else layer.kind, (layer,))


def _groups_of(layer: "Layer", summary: "Summary") -> list[str]:
    """Dotted paths of the modules with parts around a layer, outermost first."""
    parts = layer.name.split(".")
    return [path for n in range(1, len(parts)) if (path := ".".join(parts[:n])) in summary.groups]


def _last(path: str, around: list[str]) -> str:
    return path.removeprefix(f"{around[-1]}.") if around else path


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape for people: 64×112×112."""
    return "–" if shape is None else "×".join(map(str, shape)) or "1"


def macs_text(count: int) -> str:
    """A large count as papers print it: 4.089 G."""
    for power, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= power:
            return f"{count / power:.3f} {unit}"
    return f"{count:,}"


def _joined(values: list[str], between: str = "×") -> str:
    return values[0] if len(set(values)) == 1 else between.join(values)


def field_texts(fields: tuple[FieldMap, ...] | None, extents: tuple[int, ...]) -> tuple[str, str, str]:
    """Size, jump and offset of a receptive field for people."""
    if not fields:
        return "–", "", ""
    if all(f.advance is None and set(f.cells) == {(0, n - 1)} for f, n in zip(fields, extents, strict=True)):
        return "all", "", ""
    jumps = ["–" if f.jump is None else str(f.jump) for f in fields]
    starts = ["–" if f.start is None else str(f.start) for f in fields]
    return _joined([str(f.size) for f in fields]), _joined(jumps), _joined(starts, ", ")


@dataclass(frozen=True)
class SummaryTable:
    """Renders itself for the width of the console: classes, memory and offsets where they find room.

    `depth` folds modules that lie deeper. `batch`: images for which the memory of training is told.
    """

    summary: "Summary"
    depth: int | None = None
    batch: int = 128

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(wide=True)
        wide = Measurement.get(console, options.update(width=_UNLIMITED), table).maximum <= options.max_width
        yield table if wide else self._table(wide=False)
        yield Text()
        if self.summary.effective:
            yield _effective_table(self.summary)
            yield Text()
        yield _notes(self.summary, wide, self.batch)

    def _table(self, wide: bool) -> Table:
        s = self.summary
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", collapse_padding=True)
        table.add_column("layer", overflow="ellipsis")  # the only column that gives way
        if wide:
            table.add_column("", style="dim", no_wrap=True, overflow="ellipsis")
        buffers = wide and bool(s.buffers)
        shown = {"buffers": buffers, "memory": wide}
        headings = ("output", "parameters", "buffers", "MACs", "memory", "field")
        for heading in (h for h in headings if shown.get(h, True)):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("jump", justify="right" if wide else "left", no_wrap=True)
        if wide:
            table.add_column("offset", justify="right", no_wrap=True)
        table.add_row("input", *([s.dtype] if wide else []), shape_text(s.input))
        for line in lines(s, self.depth):
            table.add_row(*self._cells(line, wide))
        counts = [f"{s.parameters:,}", *([f"+{s.buffers:,}"] if buffers else []), f"{s.macs:,}"]
        total = ["total", *([""] if wide else []), "", *counts]
        table.add_section()
        table.add_row(*total, *([bytes_text(s.memory.total)] if wide else []), style="bold")
        return table

    def _cells(self, line: Line, wide: bool) -> list[RenderableType]:
        indent = "  " * line.depth
        if line.is_heading:
            return [_name(indent + line.label, "dim"), *([Text(line.kind)] if wide else [])]
        last = line.layers[-1]
        field, jump, offset = field_texts(last.fields, self.summary.input[1:])
        cells = [
            _name(indent + line.label),
            *([Text(line.kind)] if wide else []),
            shape_text(last.output),
            _number(sum(layer.parameters for layer in line.layers)),
            *([_number(sum(layer.buffers for layer in line.layers), "+")] if wide and self.summary.buffers else []),
            _number(sum(layer.macs for layer in line.layers)),
        ]
        if wide:
            allocated = sum(layer.allocated for layer in line.layers)
            return [*cells, bytes_text(allocated) if allocated else "", field, jump, offset]
        return [*cells, field, jump and f"/{jump}"]


def _name(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _number(value: int, sign: str = "") -> str:
    return f"{sign}{value:,}" if value else ""


def _effective_table(summary: "Summary") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", collapse_padding=True)
    table.add_column("effective receptive field of", no_wrap=True, overflow="ellipsis")
    for heading in ("output", "effective", "theoretical", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    outputs = {layer.name: layer.output for layer in summary.layers}
    for name, e in summary.effective.items():
        sizes = (f"{e.size:.1f}", f"{e.theoretical:.1f}", percent(e.ratio, 0))
        table.add_row(Text(name), shape_text(outputs[name]), *sizes)
    return table


def _notes(summary: "Summary", wide: bool, batch: int) -> Table:
    """What the numbers mean."""
    notes = Table.grid(padding=(0, 2, 0, 0))
    notes.add_column(style="bold", no_wrap=True)
    notes.add_column(style="dim")
    frozen = summary.parameters - summary.trainable
    besides = f"; besides {summary.buffers:,} buffers (batch-norm statistics and the like)" if summary.buffers else ""
    size = bytes_text(summary.memory.parameters)
    counts = f"{size}: {summary.trainable:,} trainable, {frozen:,} frozen; shared ones once{besides}"
    notes.add_row("parameters", counts)
    if summary.unused:
        names = ", ".join(f"{name} ({count:,})" for name, count in summary.unused.items())
        notes.add_row("not counted", Text(f"layers that do not run in evaluation mode: {names}"))
    notes.add_row("MACs", f"{macs_text(summary.macs)}: {MAC_CONVENTION}")
    memory = summary.memory
    kept = "" if memory.training is None else f", {bytes_text(memory.training)} kept for the backward pass in training"
    notes.add_row("memory", f"activations of one example: {bytes_text(memory.peak)} alive at the peak{kept}")
    if memory.training is not None:
        whole = f"{bytes_text(memory.of_batch(batch))} with {batch:,} image{'s' * (batch > 1)}"
        notes.add_row(
            "training",
            f"{whole}: {bytes_text(memory.state)} for weights, gradients and Adam's averages, "
            f"{bytes_text(memory.training)} for each image",
        )
    if summary.last_map:
        offset = "; offset: where cell 0 starts, negative in the padding" if wide else ""
        notes.add_row(
            "field", f"input pixels one cell can see; jump: from one cell to the next{offset}; all: every pixel"
        )
    if summary.effective:
        notes.add_row(
            "effective", "side of the square of pixels whose gradient is at least 4.55 % of the largest (Luo, 2016)"
        )
    if summary.why_real:
        why = f"shapes alone are not enough to run it ({summary.why_real}); these are the numbers of one random input"
        notes.add_row("note", Text(why))
    return notes
