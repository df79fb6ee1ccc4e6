"""Charts of studies, in the style of all pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convlens.inspection import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panel(axes: "Axes", title: str = "", *, x: str = "", y: str = "", log: str = "") -> "Axes":
    """A cell of a sheet that becomes a chart. x, y: the names of the axes. log: "x", "y" or "xy"."""
    from matplotlib.ticker import FuncFormatter

    axes.set_axis_on()
    if title:
        style.title(axes, title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    powers = FuncFormatter(lambda value, _: _power(value))
    if "x" in log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(powers)
    if "y" in log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(powers)
    return axes


def lines(
    xs: Sequence[float], curves: Mapping[str, Sequence[float]], *, x: str, y: str, title: str = "", log: str = "",
    marks: Sequence[float] = (), dots: bool = True,
) -> "Figure":  # fmt: skip
    """One chart of named curves. A curve may be shorter than xs. marks: values of y that are drawn as dotted lines."""
    with style.styled():
        figure, axes = style.sheet(1, 1, cell=3.4, width=5.2)
        one = panel(axes[0, 0], title, x=x, y=y, log=log)
        for name, values in curves.items():
            look: dict[str, Any] = {"marker": "o", "markersize": 3} if dots else {}
            one.plot(list(xs)[: len(values)], values, label=name, **look)
        for mark in marks:
            one.axhline(mark, color=style.PALE, linewidth=0.8, linestyle=":")
        if len(curves) > 1:
            one.legend(frameon=False)
        return figure


def _power(value: float) -> str:
    """A tick of a logarithmic axis: 1e−06, 0.01, 100."""
    return f"{value:g}".replace("-", "−")
