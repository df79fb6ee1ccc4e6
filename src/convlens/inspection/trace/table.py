"""Traces for a terminal, by Rich."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from convlens.inspection.trace.gradient import GradientTrace
    from convlens.inspection.trace.pixels import Level, Pixels
    from convlens.inspection.trace.trace import Trace

_CHANNELS = 12


def table(trace: "Trace", *, to_pixels: bool, top: int) -> RenderableType:
    """The number, its formula, its terms, what it sees; with `to_pixels` level by level down to the image."""
    parts: list[RenderableType] = [_head(trace), _numbers(trace), _terms(trace, top), *_after_terms(trace)]
    if to_pixels:
        parts += [Text(), _levels(trace.pixels), Text(), _pixels(trace.pixels, top)]
    return Group(*parts)


def _head(trace: "Trace") -> Text:
    text = Text()
    text.append(f"{trace.node}{_cell(trace.cell)}", style="bold")
    text.append(f"  {trace.op}, output {_size(trace.shape)}\n")
    text.append(f"  {trace.formula}\n  {trace.numbers}\n", style="cyan")
    return text


def _numbers(trace: "Trace") -> Table:
    rows = Table.grid(padding=(0, 2))
    rows.add_row("  network", f"{trace.value:.9g}", "what PyTorch gives")
    rows.add_row("  bias + terms", f"{trace.recomputed:.9g}", "added up here, in float64")
    rows.add_row("  difference", f"{trace.value - trace.recomputed:.1e}", "rounding of the network's own type")
    return rows


def _terms(trace: "Trace", top: int) -> RenderableType:
    rows = [(trace.sources[t.input], t, i) for t in trace.sum.terms for i in range(len(t.values))]
    if not rows:
        return Text("\n  no terms: all of it is bias")
    rows.sort(key=lambda row: -abs(row[1].products[row[2]]))
    sources = list(dict.fromkeys(source for source, _, _ in rows))
    several, kernels = len(sources) > 1, any(len(terms.kernel) for terms in trace.sum.terms)
    title = f"terms{'' if several else f' of {sources[0]}'}: {trace.sum.how}"
    shown = Table(title=title, title_justify="left", title_style="", box=None, padding=(0, 2))
    names = ["input"] if several else []
    names += ["cell", "value", "weight at", "weight", "product"] if kernels else ["cell", "value", "weight", "product"]
    for name in names:
        shown.add_column(name, justify="left" if name == "input" else "right", no_wrap=name != "input", overflow="fold")
    for source, terms, i in rows[:top]:
        note = " (won)" if terms.won is not None and terms.won[i] else ""
        place = [_cell(terms.kernel[i])] if kernels else []
        numbers = [_n(terms.values[i]), *place, _n(terms.weights[i]), _n(terms.products[i]) + note]
        shown.add_row(*([source] if several else []), _cell(terms.cells[i, 1:]), *numbers)
    between = [""] * (len(names) - 2)
    if rows[top:]:
        rest = sum(float(t.products[i]) for _, t, i in rows[top:])
        shown.add_row(f"{len(rows) - top} more", *between, _n(rest))
    shown.add_row("bias", *between, _n(trace.bias))
    shown.add_row("sum", *between, _n(trace.recomputed), style="bold")
    return Group(Text(), shown)


def _after_terms(trace: "Trace") -> list[RenderableType]:
    parts: list[RenderableType] = []
    sums = trace.partial_sums()
    if len(sums) > 1:
        largest = sorted(sums, key=lambda row: -abs(row["sum"]))[:_CHANNELS]
        text = ", ".join(
            f"{row['channel']}: {_n(row['sum'])}" for row in sorted(largest, key=lambda row: row["channel"])
        )
        more = f" (the largest of {len(sums)})" if len(sums) > len(largest) else ""
        parts.append(Text(f"\n  by input channel{more}: {text}"))
    for step in trace.after:
        parts.append(Text(f"  then {step.node} ({step.op}): {step.numbers}"))
    field = trace.field
    box = " x ".join(f"{a}..{b}" for a, b in field.box)
    size = _size([b - a + 1 for a, b in field.box])
    names = " (rows x columns)" if len(field.box) == 2 else ""
    parts.append(Text(f"\n  sees {field.pixels} pixels of the image's {_size(field.mask.shape)}: {box}{names}, {size}"))
    parts += [Text(f"  note: {note}", style="yellow") for note in trace.notes]
    return parts


def _levels(pixels: "Pixels") -> RenderableType:
    branches = any(level.waiting for level in pixels.levels)  # shares wait where there is more than one way
    title = f"down to the pixels: shares {'+ waiting ' if branches else ''}+ biases = the number, at every level"
    found = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    found.add_column("level", overflow="fold")
    for name in ("operation", "cells", "shares", *(["waiting"] if branches else []), "biases", "total"):
        found.add_column(name, justify="left" if name == "operation" else "right", no_wrap=True)
    for level in pixels.levels:
        numbers = [level.shares.sum(), *([level.waiting] if branches else []), level.biases, level.total]
        found.add_row(level.node, level.op, str(int(np.count_nonzero(level.shares))), *map(_n, numbers))
    ways = {level.op: level.how for level in pixels.levels if level.op not in ("input", "pixels")}
    legend = [Text(f"  {op}: {how}", style="dim") for op, how in ways.items()]
    return Group(found, Text(), Text("how each operation hands its share on", style="bold"), *legend)


def _pixels(pixels: "Pixels", top: int) -> RenderableType:
    last: Level = pixels.levels[-1]
    found = Table(
        title="the largest shares of the image", title_justify="left", title_style="", box=None, padding=(0, 2)
    )
    for name in ("cell", "value", "weight", "share"):
        found.add_column(name, justify="right")
    for row in last.largest(top):
        found.add_row(_cell(row["cell"]), _n(row["value"]), _n(row["weight"]), _n(row["share"]))
    text = f"  shares {_n(float(pixels.shares.sum()))} + biases {_n(pixels.bias)} = {_n(pixels.value)}"
    return Group(found, Text(f"{text} (to {pixels.error:.0e} of the shares' magnitude, at every level)"))


def gradient_table(trace: "GradientTrace", *, top: int) -> RenderableType:
    """The gradient of one weight, and its largest terms."""
    head = Text()
    head.append(f"dL / d {trace.parameter}{_cell(trace.cell)}", style="bold")
    head.append(f"  weight {_n(trace.weight)}, parameter {_size(trace.shape)}\n")
    head.append(f"  L = cross entropy of class {trace.target} = {_n(trace.loss)}, one image, in inference mode\n")
    head.append("  dL/dw = sum over cells y of dL/dy * dy/dw\n", style="cyan")
    rows = Table.grid(padding=(0, 2))
    rows.add_row("  network", f"{trace.value:.9g}", "what PyTorch gives")
    rows.add_row("  sum of terms", f"{trace.recomputed:.9g}", "added up here, in float64")
    rows.add_row("  difference", f"{trace.value - trace.recomputed:.1e}", "rounding of the network's own type")
    found = Table(box=None, padding=(0, 2))
    for name in ("of", "cell y", "dL/dy", "dy/dw", "product"):
        found.add_column(name, justify="left" if name == "of" else "right")
    terms = sorted(trace.rows(), key=lambda row: -abs(row["product"]))
    for row in terms[:top]:
        found.add_row(row["node"], _cell(row["cell"]), _n(row["gradient"]), _n(row["input"]), _n(row["product"]))
    if terms[top:]:
        found.add_row(f"{len(terms) - top} more", "", "", "", _n(sum(row["product"] for row in terms[top:])))
    found.add_row("sum", "", "", "", _n(trace.recomputed), style="bold")
    notes = [Text(f"  note: {note}", style="yellow") for note in trace.notes]
    return Group(head, rows, Text(), found, *notes)


def _n(value: float) -> str:
    return f"{float(value):.5g}"


def _cell(cell: Iterable[int]) -> str:
    return f"[{', '.join(str(int(i)) for i in cell)}]"


def _size(shape: Iterable[int]) -> str:
    return " x ".join(str(int(n)) for n in shape) or "1"
