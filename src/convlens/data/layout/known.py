"""Names of classes against those that a run knows, and folders of pictures that are only to be judged by these."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from convlens.data.layout.classes import Layout
from convlens.data.layout.parts import part_of
from convlens.data.naming import natural, printable


def match_names(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """int64 [len(theirs)]: for each name its position in `ours`, or -1.

    Names are compared as they are, then in one form of Unicode (NFC), then without regard to case and outer blanks,
    each time among those that are left. What two names could mean is left unmatched.
    """
    found = np.full(len(theirs), -1, np.int64)
    keys: tuple[Callable[[str], str], ...] = (str, _composed, lambda name: _composed(name).strip().casefold())
    for key in keys:
        taken = set(found.tolist())
        position = _unique(key, ((k, name) for k, name in enumerate(ours) if k not in taken))
        left = _unique(key, ((k, name) for k, name in enumerate(theirs) if found[k] < 0))
        for name, k in left.items():
            same = position.get(name)
            if k is not None and same is not None:
                found[k] = same
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _unique(key: Callable[[str], str], names: Iterable[tuple[int, str]]) -> dict[str, int | None]:
    """The position of each key; None where two names have it."""
    found: dict[str, int | None] = {}
    for k, name in names:
        found[key(name)] = None if key(name) in found else k
    return found


def lay_out_known(paths: list[str], top: str, known: Sequence[str]) -> Layout | None:
    """The layout of image files that are to be judged, by folders that are called like classes of a run.

    Less is asked than for training: there may be one class, no part for training, other classes in the parts. Of parts
    the test part counts. paths: with slashes, relative; top: the name of the folder that holds them, which may be the
    class itself. None if no folder is called like a class.
    """
    folders = {path: [printable(name) for name in path.split("/")[:-1]] for path in paths}
    names = sorted({name for inside in folders.values() for name in inside})
    classes = {name for name, number in zip(names, match_names(names, known), strict=True) if number >= 0}
    if not classes:
        if match_names([top], known)[0] < 0:
            return None
        folders, classes = {path: [top] for path in paths}, {top}
    parts = {
        path: [part for name in inside if name not in classes and (part := part_of(name))]
        for path, inside in folders.items()
    }
    judged = "test" if any("test" in found for found in parts.values()) else "train"
    notes = []
    if judged == "test":
        folders = {path: inside for path, inside in folders.items() if "test" in parts[path]}
        notes.append("only the test part is judged")
    below = {path: [n for n in inside if n in classes or not part_of(n)] for path, inside in folders.items()}
    levels = Counter(k for inside in below.values() for k, name in enumerate(inside) if name in classes)
    if not levels:
        return None
    level = min(levels, key=lambda k: (-levels[k], k))
    left_out = [(path, "in no class folder") for path, inside in below.items() if len(inside) <= level]
    named = {path: inside[level] for path, inside in below.items() if len(inside) > level}
    order = sorted(set(named.values()), key=natural)
    number = {name: k for k, name in enumerate(order)}
    items = sorted(((path, number[name]) for path, name in named.items()), key=lambda item: (item[1], natural(item[0])))
    return Layout(tuple(order), {judged: items}, notes, left_out)
