"""The data sets known by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convlens.data.sources import ArraySource, Source


@dataclass(frozen=True)
class NamedSet:
    """An entry of the catalogue.

    native: (C, H, W). counts: (training, test) images; no test images: a test part is cut from the training part.
    open: makes the source from the folder to look in first (None: $CONVLENS_DATA).
    """

    name: str
    title: str
    native: tuple[int, int, int]
    num_classes: int
    counts: tuple[int, int]
    open: Callable[[Path | None], Source]
    download: bool = True


def _open_digits(root: Path | None) -> Source:
    from convlens.data import digits

    return ArraySource("digits", lambda: {"train": digits.load()}, classes=tuple("0123456789"), native=(1, 8, 8))


SETS: dict[str, NamedSet] = {
    entry.name: entry
    for entry in (
        NamedSet("digits", "handwritten digits of scikit-learn", (1, 8, 8), 10, (1797, 0), _open_digits, False),
    )
}


def open_set(name: str, root: Path | None = None) -> Source:
    """The source of a named set. Downloads it if need be."""
    return SETS[name].open(root)
