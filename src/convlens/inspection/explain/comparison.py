"""Attributions side by side: one sheet a picture, one column a method, and below each its map on a random network."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.errors import InputError
from convlens.inspection import style
from convlens.inspection.explain.attribution import Aims, Attribution, aims
from convlens.inspection.explain.randomized import randomized, rank_correlation
from convlens.inspection.explain.registry import Method
from convlens.inspection.explain.subject import Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 0.5
"""A map fails the randomization check where its rank correlation with that of a random network is larger than this."""
_PERCENTILE = 99.5


@dataclass(frozen=True, eq=False)
class Judged:
    """A method's maps, those on the network with random weights, and how alike they are.

    correlations: float64 [N], Spearman's rank correlation of both maps of each picture; NaN where one is constant.
    """

    method: str
    found: Attribution
    random: Attribution
    correlations: np.ndarray

    @property
    def correlation(self) -> float:
        """The mean over the pictures that have one."""
        known = self.correlations[np.isfinite(self.correlations)]
        return float(known.mean()) if len(known) else math.nan

    def verdict(self, picture: int) -> str:
        """ "passed", "failed" or, where a map is constant, "undecided"."""
        value = self.correlations[picture]
        return "undecided" if math.isnan(value) else "failed" if abs(value) > LIMIT else "passed"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Attributions of the same pictures. aims: which numbers were explained. judged: by method."""

    subject: Subject
    pictures: Pictures
    aims: Aims
    judged: Mapping[str, Judged]

    def to_dict(self) -> list[dict[str, Any]]:
        """For JSON: for each picture what was explained, and for each method the range and the check."""
        return [
            {
                "picture": self.pictures.names[i],
                "class": self.subject.classes[self.aims.target[i]],
                "against": None if self.aims.against is None else self.subject.classes[self.aims.against[i]],
                "score": float(self.aims.scores[i]),
                "maps": {name: _row(judged, i) for name, judged in self.judged.items()},
            }
            for i in range(len(self.pictures))
        ]

    def draw(self) -> "dict[str, Figure]":
        """One sheet a picture, by the stem of its file."""
        from convlens.inspection.explain.naming import stems

        with style.styled():
            return {f"{stem}-why": self._sheet(i) for i, stem in enumerate(stems(self.pictures.names))}

    def _sheet(self, i: int) -> "Figure":
        """The picture in the corner; a column a method, further methods below; in each its map above the random one."""
        bands = math.ceil(len(self.judged) / _BESIDE)
        figure, axes = style.sheet(2 * bands, 1 + min(len(self.judged), _BESIDE), width=1.1 * style.CELL)
        style.headline(figure, *self._words(i))
        for band in range(bands):
            style.caption(axes[2 * band + 1, 0], _RANDOM)
            if band:
                style.caption(axes[2 * band, 0], _TRAINED)
        style.show_picture(axes[0, 0], self.pictures.pixels[i])
        style.title(axes[0, 0], self.pictures.names[i])
        for k, judged in enumerate(self.judged.values()):
            above, below = axes[k // _BESIDE * 2 : k // _BESIDE * 2 + 2, 1 + k % _BESIDE]
            for cell, found in ((above, judged.found), (below, judged.random)):
                style.show_map(cell, found.maps[i], limit=_limit(found), signed=found.signed)
                style.note(cell, _range(found.maps[i]))
            style.title(above, f"{judged.method}\n{judged.found.unit}")
            failed = judged.verdict(i) == "failed"
            style.title(below, _check(judged, i), color=style.WRONG if failed else style.INK)
        return figure

    def _words(self, i: int) -> tuple[str, str]:
        target = self.subject.classes[self.aims.target[i]]
        against = "" if self.aims.against is None else f", not {self.subject.classes[self.aims.against[i]]}"
        what = "logit" if self.aims.against is None else "difference of the logits"
        others = f", the same on all {len(self.pictures)} sheets" if len(self.pictures) > 1 else ""
        return (
            f"Why {target}{against}? {what.capitalize()} {style.number(float(self.aims.scores[i]))}",
            f"Below each map of {self.subject.name} is that of the same network with random weights, and the rank "
            f"correlation (Spearman) of the two. A map fails where it is over {LIMIT} in magnitude: it shows the "
            "picture, not what was learned. Under each map stand its smallest and largest value. Of the method's "
            f"values {_PERCENTILE} % lie within its colors{others}; maps of random weights have colors of their own.",
        )


_TRAINED, _RANDOM = "the network", "the same network\nwith random weights"
_BESIDE = 4  # methods beside each other: more would be too small to read


def compare(
    subject: Subject,
    pictures: Pictures,
    options: Options,
    methods: list[Method],
    advance: Callable[[int], None] = lambda n: None,
    lenient: bool = False,
) -> Comparison:
    """Runs attributions on the network and on one with random weights. `advance(1)` after each run: two a method.

    lenient: a method that cannot be used on this network is left out, which `Subject.on_note` is told.
    """
    wanted = aims(subject, pictures, options)
    other = randomized(subject, options.seed)
    same = replace(options, target=tuple(subject.classes[k] for k in wanted.target))  # not what the other predicts
    judged: dict[str, Judged] = {}
    errors: list[InputError] = []
    for method in methods:
        try:
            found = _maps(method, subject, pictures, options)
            advance(1)
            random = _maps(method, other, pictures, same)
            advance(1)
        except InputError as error:
            if not lenient:
                raise
            errors.append(error)
            subject.on_note(f"{method.name} is left out: {error}")
            continue
        alike = np.array([rank_correlation(a, b) for a, b in zip(found.maps, random.maps, strict=True)])
        judged[method.name] = Judged(method.name, found, random, alike)
    if not judged and errors:
        raise errors[0]
    return Comparison(subject, pictures, wanted, judged)


def _maps(method: Method, subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    found = method.function(subject, pictures, options)
    assert isinstance(found, Attribution), f"{method.name} is of the group attribution and must give an Attribution"
    return found


def _row(judged: Judged, i: int) -> dict[str, Any]:
    values = judged.found.maps[i]
    return {
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "sum": float(values.sum()),
        "color_limit": _limit(judged.found),
        "rank_correlation_random": float(judged.correlations[i]),
        "randomization_check": judged.verdict(i),
        **{name: value[i] for name, value in judged.found.facts.items()},
    }


def _limit(found: Attribution) -> float:
    """Where the colors of a method end: the same for all of its pictures."""
    return float(np.percentile(np.abs(found.maps), _PERCENTILE)) if found.maps.size else 0.0


def _range(values: np.ndarray) -> str:
    if not values.any():
        return "all values are 0"
    return f"{style.number(float(values.min()))} to {style.number(float(values.max()))}"


def _check(judged: Judged, i: int) -> str:
    words = {"passed": "differs, as it should", "failed": "FAILS: looks the same", "undecided": "a constant map"}
    value = judged.correlations[i]
    shown = "" if math.isnan(value) else f"rank correlation {value:.2f}\n".replace("-", "−")
    return f"{shown}{words[judged.verdict(i)]}"
