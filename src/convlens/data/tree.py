"""What a list of file paths says: which files are for training, validation and test, and of which class."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from convlens.base.errors import InputError
from convlens.data.naming import natural, printable

_PART_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_ENDING = re.compile(r"[\s_.-]*(set|data|images|imgs|split)$")


def part_of(folder: str) -> str | None:
    """The part that a folder's name means ("train", "TRAIN", "train_set", "valid", ...), or None."""
    name = folder.strip().lower()
    return _PART_NAMES.get(name) or _PART_NAMES.get(_ENDING.sub("", name))


PARTS = ("train", "val", "test")

_Split = list[tuple[str, list[str]]]  # (path, its folders and its name)
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
    `test/`; `class/train/file`; and `class/train_file` where the name of every file starts with train_, val_ or
    test_. Files deeper in a class folder belong to that class. A part (see `part_of`) is never a class.

    Raises `InputError` if there are no images, no class folders, only one class, no training part, or if the
    parts have different classes.
    """
    if not paths:
        raise InputError(f"{title}: no images in it (such as .jpg or .png); put them in one folder per class")
    notes: list[str] = []
    left_out: list[tuple[str, str]] = []
    split = _below_top([(path, path.split("/")) for path in paths])
    if all(len(parts) < 2 for _, parts in split):
        raise InputError(f"{title}: {_images(len(split))} but no class folders; put them in one folder per class")
    split = _leave_out(split, 2, "outside the class folders", notes, left_out)
    assigned = _by_folder(split, title, notes, left_out) or _by_inner_folder(split, notes, left_out)
    assigned = assigned or _by_prefix(split, notes) or [("train", parts[0], path) for path, parts in split]
    # the same name in two forms of Unicode is the same class
    assigned = [(part, unicodedata.normalize("NFC", name), path) for part, name, path in assigned]
    return _number(assigned, title, notes, left_out)


def _leave_out(split: _Split, depth: int, why: str, notes: list[str], left_out: list[tuple[str, str]]) -> _Split:
    """Without the files that lie less deep than `depth`; those are noted for each folder."""
    shallow: dict[str, list[str]] = {}
    for path, parts in split:
        if len(parts) < depth:
            shallow.setdefault("/".join(parts[:-1]), []).append(path)
    for folder, paths in sorted(shallow.items()):
        left_out.extend((path, why) for path in paths)
        verb = "has" if len(paths) == 1 else "have"
        notes.append(
            f"{_images(len(paths))} in {printable(folder)}/ {verb} no class folder; left out" if folder
            else f"{_images(len(paths))} outside the class folders left out, such as {printable(paths[0])}"
        )  # fmt: skip
    return [(path, parts) for path, parts in split if len(parts) >= depth]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _below_top(split: _Split) -> _Split:
    """Without the folders at the top that hold everything, except the one that must be the class or the part."""
    while True:
        tops = {parts[0] for _, parts in split if len(parts) > 1}
        inner = {parts[1] for _, parts in split if len(parts) > 2}
        all_deeper = all(len(parts) != 2 for _, parts in split)
        if len(tops) != 1 or part_of(min(tops)) or not (len(inner) > 1 or (inner and all_deeper)):
            return split
        if set(map(part_of, inner)) >= {"train", "test"} and not all_deeper:
            return split  # one class with its parts inside
        split = [(path, parts[1:] if len(parts) > 1 else parts) for path, parts in split]


def _by_folder(split: _Split, title: str, notes: list[str], left_out: list[tuple[str, str]]) -> _Assigned | None:
    """Parts at the top: `train/class/file`."""
    tops = {parts[0] for _, parts in split}
    named = {top for top in tops if part_of(top)}
    if not named:
        return None
    with_classes = {parts[0] for _, parts in split if parts[0] in named and len(parts) > 2}
    others = sorted(tops - named, key=natural)
    if not others and not with_classes:
        raise InputError(
            f"{title}: {_listed(named)} hold images but no class folders; put them in one folder per class"
        )
    if others and not with_classes:
        raise InputError(
            f"{title}: beside class folders such as {printable(others[0])}/ there is {_listed(named)}, named like a "
            "part of a data set; if it is a class, give the folder another name, else put class folders in every part"
        )
    if others:
        raise InputError(
            f"{title}: beside {printable(min(named))}/ there is {printable(others[0])}/; keep either only train/, val/ "
            "and test/, or only class folders"
        )
    if not any(part_of(top) == "train" for top in with_classes):
        raise InputError(f"{title}: there is {printable(min(named))}/ but no train/; add the images to train on")
    split = _leave_out(split, 3, "in no class folder", notes, left_out)
    return [(part_of(parts[0]) or "", parts[1], path) for path, parts in split]


def _by_inner_folder(split: _Split, notes: list[str], left_out: list[tuple[str, str]]) -> _Assigned | None:
    """Parts inside the classes: `class/train/file`."""
    inner = {part_of(parts[1]) for _, parts in split if len(parts) > 2}
    if "train" not in inner or len(inner) < 2 or None in inner:
        return None
    notes.append("every class folder has its own train/, val/ or test/: taken as the official split")
    direct = [path for path, parts in split if len(parts) < 3]
    if direct:
        left_out.extend((path, "in none of the parts of its class") for path in direct)
        notes.append(f"{_images(len(direct))} in none of the parts of a class left out, such as {printable(direct[0])}")
    return [(part_of(parts[1]) or "", parts[0], path) for path, parts in split if len(parts) > 2]


def _listed(folders: set[str]) -> str:
    return " and ".join(f"{printable(folder)}/" for folder in sorted(folders, key=natural))


def _by_prefix(split: _Split, notes: list[str]) -> _Assigned | None:
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
