"""What a method of explanation gives: numbers first, pictures of them on demand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.inspection import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation:
    """What one method found.

    what: the name of the method, a key of `METHODS`.
    arrays: the numbers, by name.
    facts: further figures, as JSON has them.
    notes: lines for the reader: what the numbers are, what was chosen, what was left out.
    figures: makes the pictures, by the stem of their file.
    """

    what: str
    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    figures: Callable[[], "Mapping[str, Figure]"] = dict

    def draw(self) -> "dict[str, Figure]":
        """The pictures, matplotlib figures in our style, by the stem of the file that `save` writes."""
        with style.styled():
            return dict(self.figures())

    def save(self, folder: Path) -> list[Path]:
        """Writes the pictures into a folder, which exists, and gives their paths."""
        return [style.save(figure, folder / f"{stem}.png") for stem, figure in self.draw().items()]
