"""What a list of file paths says: which files are for training, validation and test, and of which class."""

from collections import Counter
from dataclasses import dataclass, field

from convlens.base.errors import InputError
from convlens.data.naming import natural, printable

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder names (any case) that mean a part of the data set."""

PARTS = ("train", "val", "test")

_Assigned = list[tuple[str, str, str]]  # (part, class, path)


@dataclass(frozen=True)
class Layout:
    """The meaning of a tree of image files.

    classes: in natural order, so that folders "2" and "10" are in the order of the numbers.
    parts: for each part ("train", "val", "test"), (path, label) in order of class, then of path.
    notes: what a person should know, one line each.
    left_out: (path, reason) of the files that belong to no class.
    """

    classes: tuple[str, ...]
    parts: dict[str, list[tuple[str, int]]]
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def lay_out(paths: list[str], title: str) -> Layout:
    """Reads the layout from the paths of image files (with slashes, relative). title: what messages call the tree.

    Understood, below any number of single top folders: `class/file`; `train/class/file` beside `val/` and
    `test/`; and `class/train_file` where the name of every file starts with train_, val_ or test_. Files deeper
    in a class folder belong to that class.

    Raises `InputError` if there are no images, no class folders, only one class, no training part, or if the
    parts have different classes.
    """
    if not paths:
        raise InputError(f"{title}: no images in it (such as .jpg or .png); put them in one folder per class")
    notes: list[str] = []
    split = _below_top([(path, path.split("/")) for path in paths])
    loose = [path for path, parts in split if len(parts) < 2]
    split = [(path, parts) for path, parts in split if len(parts) >= 2]
    if not split:
        raise InputError(f"{title}: {_images(len(loose))} but no class folders; put them in one folder per class")
    if loose:
        notes.append(f"{_images(len(loose))} outside the class folders left out, such as {printable(loose[0])}")
    assigned = _by_folder(split, title) or _by_prefix(split, notes)
    left_out = [(path, "outside the class folders") for path in loose]
    return _number(assigned or [("train", parts[0], path) for path, parts in split], title, notes, left_out)


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _below_top(split: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Without the folders at the top that hold everything, except the one that must be the class or the part."""
    while True:
        tops = {parts[0] for _, parts in split}
        if len(tops) > 1 or min(len(parts) for _, parts in split) < 3 or tops.pop().lower() in SPLIT_NAMES:
            return split
        split = [(path, parts[1:]) for path, parts in split]


def _by_folder(split: list[tuple[str, list[str]]], title: str) -> _Assigned | None:
    tops = {parts[0] for _, parts in split}
    named = {top for top in tops if top.lower() in SPLIT_NAMES}
    if not named or min(len(parts) for _, parts in split if parts[0] in named) < 3:
        return None  # no part folders, or images directly in them: then "train" is a class like any other
    if others := sorted(tops - named, key=natural):
        raise InputError(
            f"{title}: beside {printable(min(named))}/ there is {printable(others[0])}/; keep either only train/, val/ "
            "and test/, or only class folders"
        )
    if not any(SPLIT_NAMES[top.lower()] == "train" for top in named):
        raise InputError(f"{title}: there is {printable(min(named))}/ but no train/; add the images to train on")
    return [(SPLIT_NAMES[parts[0].lower()], parts[1], path) for path, parts in split]


def _by_prefix(split: list[tuple[str, list[str]]], notes: list[str]) -> _Assigned | None:
    assigned = [(parts[-1].split("_", 1)[0].lower(), parts[0], path) for path, parts in split]
    found = {part for part, _, _ in assigned}
    if not found <= set(PARTS) or "train" not in found or len(found) < 2:
        return None
    names = " and ".join(f"{part}_" for part in PARTS if part in found)
    notes.append(f"the file names start with {names}: taken as the official split")
    return assigned


def _number(assigned: _Assigned, title: str, notes: list[str], left_out: list[tuple[str, str]]) -> Layout:
    by_part = {part: {name for p, name, _ in assigned if p == part} for part in PARTS}
    by_part = {part: names for part, names in by_part.items() if names}
    names = sorted(by_part["train"], key=natural)
    for part, others in by_part.items():
        for name in sorted(by_part["train"] ^ others, key=natural):
            here, there = (part, "train") if name in others else ("train", part)
            raise InputError(
                f"{title}: class '{printable(name)}' has images in {here} but none in {there}; "
                "give every part the same classes"
            )
    if len(names) < 2:
        raise InputError(
            f"{title}: only one class ('{printable(names[0])}'); put the images in two or more class folders"
        )
    label = {name: number for number, name in enumerate(names)}
    parts: dict[str, list[tuple[str, int]]] = {part: [] for part in by_part}
    for part, name, path in sorted(assigned, key=lambda item: (label[item[1]], natural(item[2]))):
        parts[part].append((path, label[name]))
    clashes = [name for name, count in Counter(printable(name) for name in names).items() if count > 1]
    if clashes:
        raise InputError(f"{title}: two class folders both read as '{clashes[0]}'; rename one")
    return Layout(tuple(printable(name) for name in names), parts, notes, left_out)
