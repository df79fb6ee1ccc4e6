"""A drawing as a picture: PNG, SVG or PDF by matplotlib."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convlens.base.errors import InputError
from convlens.base.files import explained, write_bytes
from convlens.inspection.drawing.boxes import Box, Drawing
from convlens.inspection.drawing.place import Placed, place
from convlens.inspection.summary.table import macs_text, shape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
_INCHES = (1.75, 0.36)  # of one box with the gap around it
_COLORS = {  # fill and edge, apart in lightness too, for the color-blind
    "input": ("#ffffff", "#555555"),
    "convolution": ("#cfe1f2", "#2f6ba8"),
    "pooling": ("#fbe3c4", "#b8651b"),
    "linear": ("#d9ead3", "#3c7a3c"),
    "join": ("#f4f4f4", "#333333"),
    "other": ("#ece4f2", "#7a5195"),
}
_MOST_ROWS = 400  # more become a picture that no program shows


def paint(drawings: Sequence[Drawing], path: Path | str) -> Path:
    """Draws networks side by side into a file.

    Args:
        path: ends in .png, .svg or .pdf.

    Raises:
        InputError: another ending, more rows than a picture can show, a file that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--draw {path}: pictures of networks end in {', '.join(FORMATS)}")
    placed = [place(drawn) for drawn in drawings]
    rows = max(row for one in placed for _, row in one.at) + 1
    if rows > _MOST_ROWS:
        raise InputError(f"a drawing of {rows} rows is too long to be shown; at most {_MOST_ROWS} can be drawn")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widths = [_right(one) - _left(one) + 0.4 for one in placed]
    figure = Figure(figsize=(sum(widths) * _INCHES[0], (rows + 2.2) * _INCHES[1]), facecolor="white")
    FigureCanvasAgg(figure)
    start = 0.0
    for drawn, one, width in zip(drawings, placed, widths, strict=True):
        axes = figure.add_axes((start / sum(widths), 0.0, width / sum(widths), 1.0))
        axes.set(xlim=(_left(one) - 0.2, _right(one) + 0.2), ylim=(rows + 0.1, -2.1))
        axes.axis("off")
        _network(axes, drawn, one)
        start += width
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "convlens"}):  # the same network gives the same file
        figure.savefig(content, format=path.suffix[1:].lower(), dpi=150, metadata=_no_date(path))
    with explained("write", path):
        write_bytes(path, content.getvalue())
    return path


def _no_date(path: Path) -> dict[str, None]:
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})


def _left(placed: Placed) -> float:
    return min(x for x, _ in [*placed.at, *(p for route in placed.routes.values() for p in route)]) - 0.62


def _right(placed: Placed) -> float:
    return max(x for x, _ in [*placed.at, *(p for route in placed.routes.values() for p in route)]) + 0.85


def _network(axes: "Axes", drawn: Drawing, placed: Placed) -> None:
    middle = placed.at[0][0]
    total = f"{drawn.parameters:,} parameters\n{macs_text(drawn.macs)} multiply-accumulates"
    axes.text(middle, -1.75, drawn.title, ha="center", va="center", fontsize=9, weight="bold", color="#111111")
    axes.text(middle, -1.05, total, ha="center", va="center", fontsize=6, color="#444444", linespacing=1.3)
    for first, last, times in drawn.repeats:
        _frame(axes, placed, first, last, times)
    for arrow in drawn.arrows:
        _arrow(axes, placed, arrow)
    for box, (x, row) in zip(drawn.boxes, placed.at, strict=True):
        _box(axes, box, x, row)


def _box(axes: "Axes", box: Box, x: float, row: int) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, edge = _COLORS[box.family]
    small = box.family == "join" and len(box.text) == 1
    width = 0.16 if small else 1.0
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, row - 0.3),
            width,
            0.6,
            boxstyle="round,pad=0,rounding_size=0.08",
            mutation_aspect=_INCHES[0] / _INCHES[1],
            fc=fill,
            ec=edge,
            lw=0.7,
            zorder=3,
        )
    )
    size = f"  {shape_text(box.output)}" if box.output and box.family == "input" else ""
    text = box.text + size
    axes.text(x, row, text, ha="center", va="center", fontsize=min(6.5, 150 / max(len(text), 1)), color="#111111",
              zorder=4)  # fmt: skip


def _arrow(axes: "Axes", placed: Placed, arrow: tuple[int, int]) -> None:
    """A line through the bends, with a head; beside a box it goes straight down."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Line

    (x0, row0), (x1, row1) = placed.at[arrow[0]], placed.at[arrow[1]]
    bends = placed.routes[arrow]
    points = [(x0, row0 + 0.3)]
    for x, row in bends:
        points += [(x, row - 0.35), (x, row + 0.35)]
    points.append((x1, row1 - 0.3))
    axes.add_patch(
        FancyArrowPatch(
            path=Line(points),
            arrowstyle="-|>",
            mutation_scale=4.5,
            lw=0.7,
            color="#555555",
            shrinkA=0,
            shrinkB=0,
            zorder=2,
        )
    )


def _frame(axes: "Axes", placed: Placed, first: int, last: int, times: int) -> None:
    """Around a block that repeats."""
    from matplotlib.patches import Rectangle

    rows = [placed.at[box][1] for box in range(first, last + 1)]
    points = [placed.at[box][0] + side for box in range(first, last + 1) for side in (-0.53, 0.53)]
    points += [x for (a, b), route in placed.routes.items() if first <= b <= last for x, row in route
               if min(rows) <= row <= max(rows)]  # fmt: skip
    left, right = min(points) - 0.03, max(points) + 0.03
    frame = Rectangle((left, min(rows) - 0.46), right - left, max(rows) - min(rows) + 0.92)
    frame.set(fill=False, edgecolor="#888888", linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    axes.add_patch(frame)
    axes.text(
        right + 0.04, sum(rows) / len(rows), f"× {times}", va="center", fontsize=7, weight="bold", color="#333333"
    )
