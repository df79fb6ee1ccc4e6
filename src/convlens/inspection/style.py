"""One style for all pictures that matplotlib draws: sheets of pictures and maps, numbers beside the colors of each.

Two color maps, chosen so that the color-blind can read them: `SEQUENTIAL` (dark to bright, for values that cannot be
negative) and `DIVERGING` (blue, white, red; white is exactly zero). Nothing here touches matplotlib's global state for
longer than a block, and no window is opened.
"""

import contextlib
import io
import logging
import textwrap
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.files import write_bytes
from convlens.base.optional import silenced
from convlens.base.screen import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEQUENTIAL = "cividis"
DIVERGING = "RdBu_r"
CELL = 1.9  # inches: one picture of a sheet
DPI = 150
INK, PALE, WRONG = "#1c2330", "#5b6475", "#b3261e"

_STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlecolor": INK,
    "axes.labelcolor": PALE,
    "axes.edgecolor": "#c3c9d4",
    "axes.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "axes.unicode_minus": True,
    "image.interpolation": "nearest",
    "image.resample": False,
    "lines.linewidth": 1.4,
    "axes.prop_cycle": "cycler('color', ['0072B2', 'D55E00', '009E73', 'CC79A7', 'E69F00', '56B4E9', '000000'])",
}
_MORE_SCRIPTS = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei")


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Inside, figures are drawn in our style, whatever the caller has set in matplotlib; then his settings are back."""
    import matplotlib as mpl

    wanted: Any = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"}
    wanted |= {**_STYLE, "font.family": _fonts()}
    with warnings.catch_warnings(), mpl.rc_context():
        warnings.simplefilter("ignore", mpl.MatplotlibDeprecationWarning)
        mpl.rcParams.update(wanted)
        yield


@cache
def _fonts() -> list[str]:
    """Matplotlib's own font, and those that are here for the names that it has no letters for."""
    from matplotlib import font_manager

    here = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _MORE_SCRIPTS if name in here)]


def sheet(rows: int, columns: int, *, cell: float = CELL, width: float | None = None) -> "tuple[Figure, np.ndarray]":
    """A figure of rows x columns square cells, and its axes, object [rows, columns], all empty and without frame.

    cell, width: inches; the height and the width of a cell.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = max((width or cell) * columns, 4.0), max(cell * rows, 2.0)  # with room for the lines above and below
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.set_axis_off()
    return figure, axes


def headline(figure: "Figure", first: str, rest: str = "") -> None:
    """The first line above all cells; what the reader needs to know besides, below them, in lines that fit."""
    across = figure.get_size_inches()[0]
    figure.suptitle(_filled(first, across * 11.5), fontsize=10, color=INK)
    if rest:
        figure.supxlabel(_filled(rest, across * 16.5), fontsize=7.5, color=PALE)


def _filled(text: str, columns: float) -> str:
    return "\n".join(textwrap.wrap(printable(text), max(20, int(columns))))


def title(axes: "Axes", text: str, *, color: str = INK, size: float | None = None) -> None:
    """The line (or lines) above a cell. Control characters of names are shown, not obeyed."""
    drawn = axes.set_title(printable(text, lines=True), color=color)
    if size is not None:
        drawn.set_fontsize(size)


def note(axes: "Axes", text: str, *, color: str = PALE) -> None:
    """Small lines below a cell."""
    shown = printable(text, lines=True)
    axes.text(0.5, -0.04, shown, transform=axes.transAxes, ha="center", va="top", color=color, fontsize=7)


def caption(axes: "Axes", text: str) -> None:
    """Lines in the middle of an empty cell, for what stands in its row."""
    shown = printable(text, lines=True)
    axes.text(0.5, 0.5, shown, transform=axes.transAxes, ha="center", va="center", color=PALE)


def show_picture(axes: "Axes", pixels: np.ndarray) -> None:
    """A picture uint8 [H, W, C] with C = 1 (gray) or 3 (RGB), as it is."""
    gray = pixels.shape[-1] == 1
    axes.imshow(pixels[..., 0] if gray else pixels, **({"cmap": "gray", "vmin": 0, "vmax": 255} if gray else {}))
    _bounded(axes)


def show_map(
    axes: "Axes", values: np.ndarray, *, limit: float | None = None, signed: bool | None = None, bar: bool = True
) -> None:
    """Numbers [H, W] as colors, with a color bar that says what the colors mean.

    Args:
        limit: the magnitude at the end of the color bar; that of the values unless given. What lies beyond is shown in
            the last color, and the bar ends in an arrow. A map of zeros stays of one color: nothing is blown up.
        signed: whether zero is the middle of a diverging map. Left out: where a value is negative.
        bar: draw the color bar.
    """
    values = np.asarray(values, np.float64)
    signed = bool((values < 0).any()) if signed is None else signed
    largest = float(np.abs(values).max(initial=0))
    limit = largest if limit is None else limit
    top = limit if limit > 0 else 1.0
    colors = DIVERGING if signed else SEQUENTIAL
    image = axes.imshow(values, cmap=colors, vmin=-top if signed else 0.0, vmax=top)
    _bounded(axes)
    if bar and axes.figure is not None:
        beyond = largest > top * (1 + 1e-9)
        extend = "neither" if not beyond else "both" if signed else "max"
        drawn = axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03, extend=extend, shrink=0.85)
        _label(drawn, top, signed)


def shared_bar(figure: "Figure", axes: np.ndarray, limit: float, *, signed: bool) -> None:
    """One color bar for all maps of a sheet that were shown with this limit and without a bar of their own."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    top = limit if limit > 0 else 1.0
    colors = ScalarMappable(Normalize(-top if signed else 0.0, top), DIVERGING if signed else SEQUENTIAL)
    drawn = figure.colorbar(colors, ax=axes.ravel().tolist(), fraction=0.03, pad=0.02, shrink=0.8, aspect=30)
    _label(drawn, top, signed)


def _label(bar: Any, top: float, signed: bool) -> None:
    """Numbers at the ends and in the middle of a color bar."""
    bar.set_ticks([-top, 0, top] if signed else [0, top / 2, top])
    bar.ax.set_yticklabels([number(tick) for tick in bar.get_ticks()])
    bar.ax.tick_params(length=2, width=0.5)
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]


def as_picture(values: np.ndarray, limit: float) -> np.ndarray:
    """Numbers [C, H, W] from -limit to limit as a picture uint8 [H, W, C] whose middle gray is 0."""
    scaled = values.transpose(1, 2, 0) / (limit if limit > 0 else 1.0)
    return np.round(127.5 + 127.5 * np.clip(scaled, -1, 1)).astype(np.uint8)


def _bounded(axes: "Axes") -> None:
    """A thin frame, so that a white map ends somewhere."""
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])


def number(value: float) -> str:
    """Three digits, short: 0.0123, 1.2e-07, 0."""
    return "0" if value == 0 else f"{value:.3g}".replace("-", "−")


def png(figure: "Figure") -> bytes:
    """The figure as the bytes of a PNG file, on white."""
    out = io.BytesIO()
    with styled(), warnings.catch_warnings(), silenced("matplotlib.font_manager", logging.ERROR):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # shown as a box, and the numbers are what matters
        figure.savefig(out, format="png", facecolor="white", metadata={"Software": "Convlens"})
    return out.getvalue()


def save(figure: "Figure", path: Path) -> Path:
    """Writes a figure as a PNG file, whole or not at all."""
    write_bytes(path, png(figure))
    return path
