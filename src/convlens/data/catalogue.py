"""The data sets known by name: what they are, where they are looked for, where they are downloaded from."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convlens.base.errors import InputError
from convlens.data.cache import cache_folder
from convlens.data.sources import ArraySource, Source

_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class NamedSet:
    """An entry of the catalogue.

    native: (C, H, W). counts: (training, test) images; without test images a test part is cut from the training part.
    locate: from a folder, the path of this set's folder or archive in it, or None.
    open: from that path, the source.
    embedded: comes with the package; nothing to locate.
    """

    name: str
    title: str
    native: tuple[int, int, int]
    num_classes: int
    counts: tuple[int, int]
    licence: str
    locate: Callable[[Path], Path | None]
    open: Callable[[Path], Source]
    embedded: bool = False


def _open_digits(_: Path) -> Source:
    from convlens.data import digits

    return ArraySource("digits", lambda: {"train": digits.load()}, classes=_DIGITS, native=(1, 8, 8))


def _idx(name: str, folders: tuple[str, ...], classes: tuple[str, ...]) -> tuple[Callable, Callable]:
    """(locate, open) of a set in IDX files."""

    def locate(root: Path) -> Path | None:
        from convlens.data import idx

        candidates = [root / folder for folder in folders]
        if ("fashion" in root.name.lower()) == (name == "fashion-mnist"):  # both have the same file names
            candidates.append(root)
        return next((folder for folder in candidates if folder.is_dir() and idx.find_files(folder)), None)

    def open_(folder: Path) -> Source:
        from convlens.data import idx

        return idx.source(idx.find_files(folder), classes, name)

    return locate, open_


SETS: dict[str, NamedSet] = {
    entry.name: entry
    for entry in (
        NamedSet(
            "digits", "handwritten digits that come with scikit-learn", (1, 8, 8), 10, (1797, 0),
            "CC BY 4.0 (UCI Machine Learning Repository)", lambda _: None, _open_digits, embedded=True,
        ),
        NamedSet(
            "mnist", "handwritten digits", (1, 28, 28), 10, (60000, 10000), "CC BY-SA 3.0 (as Keras states)",
            *_idx("mnist", ("mnist", "MNIST/raw", "MNIST"), _DIGITS),
        ),
        NamedSet(
            "fashion-mnist", "pictures of clothing", (1, 28, 28), 10, (60000, 10000), "MIT, Zalando SE",
            *_idx("fashion-mnist", ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "FashionMNIST"), _FASHION),
        ),
    )
}  # fmt: skip


def find_local(name: str, root: Path | None = None) -> Path | None:
    """Where a named set is on this machine: in `root` (or $CONVLENS_DATA), then in the cache; None if nowhere."""
    return next((path for folder in search_path(root) if (path := SETS[name].locate(folder))), None)


def search_path(root: Path | None = None) -> list[Path]:
    """The folders in which named sets are looked for, in this order."""
    chosen = root or (Path(os.environ["CONVLENS_DATA"]).expanduser() if os.environ.get("CONVLENS_DATA") else None)
    if chosen is not None and not chosen.is_dir():
        where = "the given root" if root else "$CONVLENS_DATA"
        raise InputError(f"{where} is no folder: {chosen}; correct it or leave it out")
    return ([chosen] if chosen else []) + [cache_folder() / "sets"]


def open_set(name: str, root: Path | None = None) -> Source:
    """The source of a named set."""
    entry = SETS[name]
    if entry.embedded:
        return entry.open(Path())
    path = find_local(name, root)
    if path is None:
        raise InputError(f"{name}: not found in {' or '.join(map(str, search_path(root)))}")
    return entry.open(path)
