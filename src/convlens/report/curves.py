"""The charts of a training: loss, accuracy or error, learning rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from convlens.base.words import percent
from convlens.report.charts import Series, line_chart
from convlens.report.language import Words, english
from convlens.report.words import number

_LOG_RANGE = 20  # a loss that falls by more than this is drawn on a logarithmic scale
_HIGH = 0.9  # from this accuracy on the error is drawn instead: 99.1 % and 99.6 % would be the same height


def charts(records: list[dict[str, Any]], best: float | None, words: Words | None = None) -> list[dict[str, Any]]:
    """The charts that have anything to show: title, SVG, legend. `best` is the epoch whose weights were kept."""
    draw = _Drawer(best, words or english())
    drawn = [_loss(records, draw), _right_or_wrong(records, draw)]
    if len(records) > 1 and any("lr" in record for record in records):  # of one epoch only its last is known
        drawn.append(draw("rate", [_by_epoch(records, "rate", "c", "lr")], "{:.3g}".format))
    return [chart for chart in drawn if chart["svg"]]


@dataclass(frozen=True)
class _Drawer:
    best: float | None
    words: Words

    def __call__(
        self,
        title: str,
        lines: list[Series],
        form: Callable[[float], str],
        *,
        log: bool = False,
        top: float | None = None,
        better: Callable[[list[float]], float] | None = None,
    ) -> dict[str, Any]:
        """One chart. title, and the names of the lines: keys of the words."""
        words, choose = self.words, better or _last
        which = "lowest" if better is min else "highest" if better is max else "last"
        named = [replace(line, name=words(f"training.line_{line.name}")) for line in lines]
        title = words(f"training.{title}")
        return {
            "title": title,
            "svg": line_chart(named, title, form=form, log=log, mark=self.best, top=top, words=words),
            "legend": [
                {
                    "name": line.name,
                    "kind": line.kind,
                    "value": words(f"training.{which}", value=form(choose(list(line.values)))),
                }
                for line in named
                if line.values
            ],
        }


def _loss(records: list[dict[str, Any]], draw: _Drawer) -> dict[str, Any]:
    lines = [_training(records, "loss"), _by_epoch(records, "validation", "b", "val_loss")]
    positive = [value for line in lines for value in line.values]
    log = bool(positive) and min(positive) > 0 and max(positive) > _LOG_RANGE * min(positive)
    return draw("loss_log" if log else "loss", lines, "{:.4g}".format, log=log, better=min)


def _right_or_wrong(records: list[dict[str, Any]], draw: _Drawer) -> dict[str, Any]:
    lines = [_training(records, "accuracy"), _by_epoch(records, "validation", "b", "val_accuracy")]
    if max((value for line in lines for value in line.values), default=0) < _HIGH:
        return draw("accuracy", lines, partial(percent, digits=None), top=1.0, better=max)
    errors = [Series(line.name, line.kind, line.epochs, [1 - value for value in line.values]) for line in lines]
    floor = min((value for line in errors for value in line.values if value > 0), default=1e-3) / 2
    lifted = [Series(e.name, e.kind, e.epochs, [max(value, floor) for value in e.values]) for e in errors]

    def form(error: float) -> str:  # no error at all has no place on a logarithmic axis: it lies at the floor
        return percent(0.0 if error <= floor else error, digits=None)

    return draw("error_log", lifted, form, log=True, better=min)


def _by_epoch(records: list[dict[str, Any]], name: str, kind: str, key: str) -> Series:
    pairs = [(number(r, "epoch") or i + 1, number(r, key)) for i, r in enumerate(records)]
    kept = [(epoch, value) for epoch, value in pairs if value is not None]
    return Series(name, kind, [epoch for epoch, _ in kept], [value for _, value in kept])


def _training(records: list[dict[str, Any]], what: str) -> Series:
    """By parts of an epoch where a short run kept them, so that a run of one epoch is a line and no dot."""
    kept = [(r["epoch"] - 1, r.get(f"train_{what}_parts") or []) for r in records if "epoch" in r]
    if not records or not all(parts for _, parts in kept):
        return _by_epoch(records, "training", "a", f"train_{what}")
    points = [(begun + (k + 1) / len(parts), value) for begun, parts in kept for k, value in enumerate(parts)]
    points = [(epoch, value) for epoch, value in points if math.isfinite(value)]
    return Series("training", "a", [epoch for epoch, _ in points], [value for _, value in points])


def _last(values: list[float]) -> float:
    return values[-1]
