"""Runs the methods that were asked for and holds what they found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.base.errors import InputError
from convlens.base.files import make_folder
from convlens.base.progress import bar
from convlens.inspection import style
from convlens.inspection.explain.comparison import Comparison, compare
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.registry import find
from convlens.inspection.explain.subject import Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Explanations:
    """What was found, by method: `found["saliency"].maps`.

    found: by method. comparison: the attributions beside each other and the randomization check; None without any.
    """

    found: dict[str, Explanation]
    comparison: Comparison | None = None
    paths: list[Path] = field(default_factory=list)

    def __getitem__(self, method: str) -> Explanation:
        return self.found[method]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def draw(self) -> "dict[str, Figure]":
        """All pictures, matplotlib figures, by the stem of their file: a sheet for the attributions of each picture,
        and those of every other method."""
        drawn: dict[str, Figure] = {} if self.comparison is None else self.comparison.draw()
        beside = {} if self.comparison is None else self.comparison.judged
        for name, explanation in self.found.items():
            if name not in beside:
                drawn |= explanation.draw()
        return drawn

    def save(self, folder: Path | str) -> list[Path]:
        """Writes all pictures into a folder, which is made if need be, and gives their paths."""
        folder = make_folder(Path(folder))
        self.paths[:] = [style.save(figure, folder / f"{stem}.png") for stem, figure in self.draw().items()]
        return self.paths

    def to_dict(self) -> dict[str, Any]:
        """For JSON: paths, pictures with their attributions, facts of the other methods."""
        beside = {} if self.comparison is None else self.comparison.judged
        return {
            "paths": [str(path) for path in self.paths],
            "methods": list(self.found),
            "pictures": [] if self.comparison is None else self.comparison.to_dict(),
            **{name: dict(one.facts) for name, one in self.found.items() if name not in beside and one.facts},
            "notes": self.notes,
        }

    @property
    def notes(self) -> dict[str, list[str]]:
        """By method, lines for the reader."""
        return {name: list(one.notes) for name, one in self.found.items() if one.notes}


def explain(subject: Subject, pictures: Pictures, what: Sequence[str], options: Options | None = None) -> Explanations:
    """Explains pictures, or the network alone, by methods named as in `METHODS` ("all": every attribution).

    Raises:
        InputError: an unknown method, class, layer; no picture for a method that needs one; a network that the method
            cannot be used on.
    """
    options = options or Options()
    methods = find(what)
    needing = [m.name for m in methods if m.pictures]
    if needing and not len(pictures):
        raise InputError(f"--what {needing[0]} explains pictures: name at least one image file")
    beside = [m for m in methods if m.group == "attribution"]
    others = [m for m in methods if m.group != "attribution"]
    comparison = None
    if beside:
        with bar("explaining", 2 * len(beside), options.quiet) as advance:
            comparison = compare(subject, pictures, options, beside, advance, lenient="all" in what)
    found: dict[str, Explanation] = {} if comparison is None else {n: j.found for n, j in comparison.judged.items()}
    found |= {method.name: method.function(subject, pictures, options) for method in others}
    return Explanations(found, comparison)
