"""The reliability diagram as inline SVG, and what the page says of calibration."""

from typing import Any

from markupsafe import Markup

from convlens.base.words import percent
from convlens.classify.calibration import Calibration
from convlens.report.language import Words

_WIDTH, _HEIGHT = 420, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 90  # below the axis the images of each bin are drawn
_COUNTS = 34
_FEW = 30  # images: a bin with fewer is drawn pale


def section(found: Calibration | None, words: Words) -> dict[str, Any] | None:
    """What the template of calibration needs; None where there is nothing to say."""
    if found is None:
        return None
    rows = [(words("calibration.error"), percent(found.error)), (words("calibration.chance"), percent(found.chance))]
    if found.temperature is not None and found.mended is not None:
        rows += [
            (words("calibration.temperature"), f"{found.temperature:.3g}"),
            (words("calibration.mended"), percent(found.mended)),
        ]
    return {
        "svg": diagram(found, words),
        "verdict": words(
            f"calibration.{_trust(found)}", confidence=percent(found.confidence), accuracy=percent(found.accuracy)
        ),
        "rows": rows,
        "advice": _advice(found, words),
    }


def _trust(found: Calibration) -> str:
    """Which way the probabilities err, as far as chance does not explain it."""
    gap = found.confidence - found.accuracy
    if abs(gap) > 1.96 * found.spread:
        return "over" if gap > 0 else "under"
    return "right" if found.error <= 2 * found.chance else "mixed"


def _advice(found: Calibration, words: Words) -> str:
    if found.temperature is None or found.mended is None:
        return words("calibration.no_temperature")
    if found.mended > 0.9 * found.error:
        return words("calibration.no_gain")
    return words("calibration.divide", temperature=f"{found.temperature:.3g}")


def diagram(found: Calibration, words: Words) -> Markup:
    """A bar for each bin, as high as its share of right answers, before the line on which confidence and accuracy are
    equal; below the axis the number of images."""
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    grid = Markup(
        '<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/><text class="y" x="{}" y="{y:.1f}">{}</text>'
    )
    parts = [grid.format(_LEFT, right, _LEFT - 6, percent(tick, 0), y=_y(tick)) for tick in (0, 0.25, 0.5, 0.75, 1)]
    parts += [
        Markup('<text class="x" x="{:.1f}" y="{}">{}</text>').format(_x(t), floor + 14, percent(t, 0))
        for t in (0, 0.25, 0.5, 0.75, 1)
    ]
    most = max(one.n for one in found.bins)
    for one in found.bins:
        if one.n:
            parts.append(_bar(one, most, words))
    parts.append(Markup('<line class="mark" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(_LEFT, floor, right, _TOP))
    middle = (_LEFT + right) / 2
    parts += [
        Markup('<text class="axis" x="{}" y="{}">{}</text>').format(middle, floor + 30, words("calibration.x")),
        Markup('<text class="axis" x="{}" y="{}">{}</text>').format(
            middle, _HEIGHT - 2, words("calibration.counts", n=most)
        ),
    ]
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, _in_a_sentence(found, words), Markup().join(parts)
    )


def _bar(one: Any, most: int, words: Words) -> Markup:
    x, width = _x(one.low) + 1, _x(one.high) - _x(one.low) - 2
    top, height = _y(one.accuracy), _y(0) - _y(one.accuracy)
    count, counts_at = max(1.0, _COUNTS * one.n / most), _HEIGHT - _BOTTOM + 36
    said = words("calibration.bin", low=percent(one.low, 0), high=percent(one.high, 0), n=one.n,
                 confidence=percent(one.confidence, 1), accuracy=percent(one.accuracy, 1))  # fmt: skip
    return Markup(
        '<g><title>{}</title><rect class="bar{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
        '<line class="said-here" x1="{:.1f}" x2="{:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        '<rect class="count" x="{:.1f}" y="{}" width="{:.1f}" height="{:.1f}"/></g>'
    ).format(said, " few" if one.n < _FEW else "", x, top, width, height, x, x + width,
             x, counts_at, width, count, y=_y(one.confidence))  # fmt: skip


def _in_a_sentence(found: Calibration, words: Words) -> str:
    bins = [
        words("calibration.point", confidence=percent(one.confidence, 0), accuracy=percent(one.accuracy, 0))
        for one in found.bins
        if one.n
    ]
    return words("calibration.label", bins="; ".join(bins))


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)
