"""Line charts as inline SVG. Colors come from the page's style sheet, so that they follow light and dark mode."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from convlens.report.language import Words, english

_WIDTH, _HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 34
_DOTS = 40  # more points than this are a line without dots


@dataclass(frozen=True)
class Series:
    """One line: `values[i]` belongs to `epochs[i]`. `kind` is the CSS class that colors it."""

    name: str
    kind: str
    epochs: Sequence[float]
    values: Sequence[float]


def line_chart(
    series: Sequence[Series],
    label: str,
    *,
    form: Callable[[float], str],
    log: bool = False,
    mark: float | None = None,
    top: float | None = None,
    words: Words | None = None,
) -> Markup:
    """The lines over epochs. `form` writes a value; `log` draws the values on a logarithmic scale; `mark` is an epoch.
    `top` is the largest value there can be: no tick lies above it. `words` are those of the axis and the description.

    Names and labels are escaped. Series without a finite value are left out; with none left the result is empty.
    """
    words = words or english()
    series = [kept for kept in map(_finite, series) if kept.values]
    if not series:
        return Markup()
    xs = [x for one in series for x in one.epochs]
    ys = [y for one in series for y in one.values]
    whole = max(xs) - min(xs) >= 2 or all(x == round(x) for x in xs)  # epochs: a short run has ticks within them
    x_ticks = [t for t in ticks(min(xs), max(xs), 7) if min(xs) <= t <= max(xs) and (t == round(t) or not whole)]
    x_ticks = x_ticks or [min(xs)]
    y_ticks = log_ticks(min(ys), max(ys)) if log else ticks(min(ys), max(ys), 5)
    if top is not None and max(ys) <= top:
        y_ticks = [t for t in y_ticks if t <= top]
    to_x = _scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    low, high = (math.log(v) if log else v for v in (min(*ys, *y_ticks), max(*ys, *y_ticks)))
    linear = _scale(low, high, _HEIGHT - _BOTTOM, _TOP)

    def to_y(value: float) -> float:
        return linear(math.log(value) if log else value)

    parts = [_y_tick(to_y(t), form(t)) for t in y_ticks] + [_x_tick(to_x(t), f"{t:g}") for t in x_ticks]
    if mark is not None and min(xs) <= mark <= max(xs):
        parts.append(_mark(to_x(mark)))
    parts += [_line(one, to_x, to_y, form, words) for one in series]
    parts.append(
        Markup('<text class="axis" x="{}" y="{}">{}</text>').format(
            (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 3, words("training.epoch")
        )
    )
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, _said(label, series, form, words), Markup().join(parts)
    )


def _said(label: str, series: Sequence[Series], form: Callable[[float], str], words: Words) -> str:
    """The chart in a sentence, for those who cannot see it."""
    lines = [
        words("training.from_to", name=one.name, first=form(one.values[0]), last=form(one.values[-1])) for one in series
    ]
    return words("training.by_epoch", label=label, lines="; ".join(lines))


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover low..high, roughly `about` of them."""
    if not high > low:
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within low..high, eight at most; 2 and 5 times them as well where there are fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [float(f"{m * 10.0**e:.12g}") for e in powers for m in factors]
        found = [t for t in found if low <= t <= high]
        if len(found) >= 3:
            break
    return found[:: math.ceil(len(found) / 8) or 1] or [low]


def _finite(one: Series) -> Series:
    pairs = [(x, y) for x, y in zip(one.epochs, one.values, strict=True) if math.isfinite(y)]
    return Series(one.name, one.kind, [x for x, _ in pairs], [y for _, y in pairs])


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    if high == low:
        return lambda value: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _mark(x: float) -> Markup:
    return Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(x, _TOP, _HEIGHT - _BOTTOM)


def _y_tick(y: float, text: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/><text class="y" x="{}" y="{y:.1f}">{}</text>'
    ).format(_LEFT, _WIDTH - _RIGHT, _LEFT - 6, text, y=y)


def _x_tick(x: float, text: str) -> Markup:
    return Markup('<text class="x" x="{:.1f}" y="{}">{}</text>').format(x, _HEIGHT - _BOTTOM + 15, text)


def _line(
    one: Series, to_x: Callable[[float], float], to_y: Callable[[float], float], form: Callable, words: Words
) -> Markup:
    points = [(to_x(x), to_y(y)) for x, y in zip(one.epochs, one.values, strict=True)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    drawn = Markup('<path class="line {}" d="{}"/>').format(one.kind, path)
    if len(points) > _DOTS:
        return drawn
    return drawn + Markup().join(
        Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
            one.kind, x, y, 3, words("training.point", name=one.name, epoch=epoch, value=form(value))
        )
        for (x, y), epoch, value in zip(points, one.epochs, one.values, strict=True)
    )
