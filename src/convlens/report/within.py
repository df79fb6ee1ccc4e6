"""Training seen from within: what the layers did in the epochs that were looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

from convlens.base.words import percent
from convlens.report.language import Words

_FIGURES = ("gradient", "update", "dead")


def section(records: Sequence[Mapping[str, Any]], words: Words) -> dict[str, Any] | None:
    """A row for each layer: its figures at the first and the last look. None where nothing was looked at."""
    looks = [record for record in records if record.get("layers")]
    if not looks:
        return None
    first, last = looks[0], looks[-1]
    rows = []
    for path, now in last["layers"].items():
        if not any(name in now for name in _FIGURES):
            continue
        then = first["layers"].get(path, {})
        rows.append({"name": path or "-", **{name: _change(name, then, now) for name in _FIGURES}})
    if not rows:
        return None
    which = "within.once" if first is last else "within.twice"
    return {"said": words(which, first=first["epoch"], last=last["epoch"]), "rows": rows}


def _change(name: str, then: Mapping[str, float], now: Mapping[str, float]) -> str:
    """ "0.012 → 0.0034", in words of the figure; empty where the layer has none."""
    if name not in now:
        return ""
    texts = [_text(name, each[name]) for each in (then, now) if name in each]
    return texts[-1] if len(set(texts)) == 1 else " → ".join(texts)


def _text(name: str, value: float) -> str:
    return f"{value:.2g}" if name == "gradient" else percent(value, 2 if name == "update" else 0)
