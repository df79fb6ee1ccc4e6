"""Traces as pictures: an operation at work on one cell, and the shares of every level down to the pixels.

Every map has zero in the middle of its colors and its numbers beside them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.files import make_folder
from convlens.base.progress import bar
from convlens.inspection import style
from convlens.inspection.trace.formulas import number
from convlens.inspection.trace.terms import Terms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from convlens.inspection.trace.pixels import Level
    from convlens.inspection.trace.trace import Trace

Array = np.ndarray
_CHANNELS = 3  # input channels that are drawn, those that bring most
_BARS = 16  # terms of an operation without maps
_WRITTEN = 7  # a window with sides up to this has its numbers written in
_MARK = "#d0540a"


def draw(trace: "Trace", folder: Path, *, to_pixels: bool, quiet: bool = True) -> list[Path]:
    """Writes `00-NODE.png`, the operation at work; with `to_pixels` also `01-NODE.png` and so on, one a level."""
    make_folder(folder)
    with style.styled():
        paths = [style.save(_operation(trace), folder / f"00-{_file(trace.node)}.png")]
        levels = trace.pixels.levels if to_pixels else ()
        with bar("pictures", total=len(levels), quiet=quiet or not levels) as advance:
            for count, level in enumerate(levels, 1):
                paths.append(style.save(_level(trace, level, count), folder / f"{count:02}-{_file(level.node)}.png"))
                advance(1)
    return paths


def _file(node: str) -> str:
    return re.sub(r"[^\w.#-]+", "_", node)[:80]


# --- the operation at work ------------------------------------------------------------------------------------------


def _operation(trace: "Trace") -> "Figure":
    maps = [terms for terms in trace.sum.terms if terms.cells.shape[1] == 4]
    figure = _maps(trace, maps) if maps and np.ndim(trace.observed.calls[trace.position].output) == 4 else _bars(trace)
    cell = ", ".join(map(str, trace.cell))
    style.headline(figure, f"{trace.node} [{cell}]: {trace.numbers}", f"{trace.formula}. {trace.sum.how}.")
    return figure


def _maps(trace: "Trace", maps: Sequence[Terms]) -> "Figure":
    """A row for each of the input channels that bring most: input, window, weights, products; then what comes of it."""
    rows = _rows(maps)
    one = len(rows) == 1
    figure, axes = style.sheet(len(rows), 6 if one else 5, cell=2.3, width=2.6)
    for line, (terms, channel) in zip(axes, rows, strict=True):
        _channel(trace, line, terms, channel)
    result = axes[0, 4]
    style.show_map(result, trace.observed.calls[trace.position].output[0, trace.cell[0]], signed=True)
    _frame(result, trace.cell[1:], trace.cell[1:])
    style.title(result, f"result: channel {trace.cell[0]}")
    style.note(result, f"marked: {number(trace.recomputed)}")
    _seen(trace, axes[0, 5] if one else axes[1, 4])
    return figure


def _rows(maps: Sequence[Terms]) -> list[tuple[Terms, int]]:
    """Operands and their channels, those that bring most, in their order."""
    found = [(terms, int(c)) for terms in maps for c in np.unique(terms.cells[:, 1])]

    def brought(row: tuple[Terms, int]) -> float:
        return float(np.abs(row[0].products[row[0].cells[:, 1] == row[1]]).sum())

    kept = sorted(range(len(found)), key=lambda i: -brought(found[i]))[:_CHANNELS]
    return [found[i] for i in sorted(kept)]


def _channel(trace: "Trace", axes: "Sequence[Axes]", terms: Terms, channel: int) -> None:
    here = terms.cells[:, 1] == channel
    cells = terms.cells[here][:, 2:]
    first, last = cells.min(axis=0), cells.max(axis=0)
    source = trace.observed.nodes[trace.position].inputs[terms.input]
    values = trace.observed.calls[source].output if source is not None else np.zeros((1, 1, 1, 1))
    style.show_map(axes[0], values[0, channel], signed=True)
    _frame(axes[0], first, last)
    style.title(axes[0], f"{trace.sources[terms.input]}: channel {channel}")
    for at, part, title in zip(
        axes[1:], (terms.values, terms.weights, terms.products), ("its window", "weights", "products"), strict=False
    ):
        _grid(at, _window(cells, first, last, part[here]), title)
    style.note(axes[3], f"sum: {number(float(terms.products[here].sum()))}")


def _window(cells: Array, first: Array, last: Array, numbers: Array) -> Array:
    """Numbers at their cells within the window; NaN where it does not look (dilation)."""
    window = np.full(last - first + 1, np.nan)
    window[tuple((cells - first).T)] = numbers
    return window


def _grid(axes: "Axes", window: Array, title: str) -> None:
    style.show_map(axes, window, limit=float(np.nanmax(np.abs(window))), signed=True)
    style.title(axes, title)
    if max(window.shape) > _WRITTEN:
        return
    limit = float(np.nanmax(np.abs(window))) or 1.0
    for (row, column), value in np.ndenumerate(window):
        if np.isfinite(value):
            color = "white" if abs(value) > 0.6 * limit else style.INK
            size = 7 if max(window.shape) <= 3 else 4.8
            text = "0" if not value else f"{value:.2f}" if 0.05 <= limit < 100 else f"{value:.0e}"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


def _frame(axes: "Axes", first: Sequence[int] | Array, last: Sequence[int] | Array) -> None:
    """A frame around cells, rows and columns both included."""
    from matplotlib.patches import Rectangle

    (top, left), (bottom, right) = first, last
    box = Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1)
    box.set(fill=False, edgecolor=_MARK, linewidth=1.5)
    axes.add_patch(box)


def _seen(trace: "Trace", axes: "Axes") -> None:
    """The image with the receptive field marked."""
    if trace.field.mask.ndim != 2:
        return
    _image(trace, axes)
    if trace.field.box:
        (top, bottom), (left, right) = trace.field.box
        _frame(axes, (top, left), (bottom, right))
    style.title(axes, "seen of the image")
    style.note(axes, f"{trace.field.pixels} pixels")


def _image(trace: "Trace", axes: "Axes") -> None:
    """The picture where it is known, else the first channel of the input."""
    if trace.scaling is not None:
        style.show_picture(axes, trace.scaling.pixels)
        return
    style.show_map(axes, trace.observed.calls[trace.observed.image].output[0, 0])


def _bars(trace: "Trace") -> "Figure":
    """The largest terms as bars: value, weight, product; at the right what is seen of the image."""
    figure, axes = style.sheet(1, 4, cell=3.2, width=2.4)
    rows = sorted(trace.terms(), key=lambda row: -abs(row["product"]))[:_BARS]
    names = [f"{','.join(map(str, row['cell']))}" for row in rows]
    for one, key in zip(axes[0], ("value", "weight", "product"), strict=False):
        _bar(one, names if key == "value" else [""] * len(names), [row[key] for row in rows], key)
    count = sum(len(terms.values) for terms in trace.sum.terms)
    rest = f" of {count}" if count > len(rows) else ""
    style.note(axes[0, 2], f"\n{len(rows)}{rest} terms; bias {number(trace.bias)}")
    _seen(trace, axes[0, 3])
    return figure


def _bar(axes: "Axes", names: Sequence[str], values: Sequence[float], title: str) -> None:
    axes.set_axis_on()
    places = np.arange(len(values))
    axes.barh(places, values, color=[_MARK if v < 0 else "#2166ac" for v in values], height=0.75)
    axes.axvline(0, color=style.INK, linewidth=0.6)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, width=0.5)
    style.title(axes, title)


# --- levels ---------------------------------------------------------------------------------------------------------


def _level(trace: "Trace", level: "Level", count: int) -> "Figure":
    shares = level.shares
    figure = _share_maps(trace, level) if shares.ndim == 4 and shares[0, 0].size > 1 else _share_bars(level)
    waiting = f" + {number(level.waiting)} waiting" if level.waiting else ""
    sums = f"shares {number(float(shares.sum()))}{waiting} + biases {number(level.biases)} = {number(level.total)}"
    what = "the pixels" if level.op == "pixels" else f"{level.node} ({level.op})"
    style.headline(figure, f"level {count}: {what}", f"{sums}. How it hands its share on: {level.how}.")
    return figure


def _share_maps(trace: "Trace", level: "Level") -> "Figure":
    """Value and share of the channels that bring most; the shares of all channels together."""
    shares = level.shares[0]
    size = np.abs(shares).sum(axis=(1, 2))
    order = np.argsort(-size, kind="stable")[: min(_CHANNELS, max(1, np.count_nonzero(size)))].tolist()
    several = len(shares) > 1
    figure, axes = style.sheet(2 if several else 1, len(order) + 1 if several else 2, cell=2.4, width=2.7)
    for (above, below), channel in zip(axes.T if several else axes, order, strict=False):
        if level.op == "pixels" and not several:
            _image(trace, above)
        else:
            style.show_map(above, level.values[0, channel], signed=level.op != "pixels")
        style.title(above, f"value: channel {channel}")
        style.show_map(below, shares[channel], signed=True)
        style.title(below, f"share: channel {channel}")
        style.note(below, f"sum: {number(float(shares[channel].sum()))}")
    if several:
        style.show_map(axes[1, -1], shares.sum(axis=0), signed=True)
        style.title(axes[1, -1], f"share: all {len(shares)} channels")
        _image(trace, axes[0, -1])
        style.title(axes[0, -1], "the image")
    return figure


def _share_bars(level: "Level") -> "Figure":
    figure, axes = style.sheet(1, 3, cell=3.2, width=2.6)
    rows: list[dict[str, Any]] = level.largest(_BARS)
    names = [",".join(map(str, row["cell"])) for row in rows]
    for one, key in zip(axes[0], ("value", "weight", "share"), strict=True):
        _bar(one, names if key == "value" else [""] * len(names), [row[key] for row in rows], key)
    return figure
