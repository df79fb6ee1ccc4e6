"""The classes of a set: their names made one where they are the same, numbered, and compared between the parts."""

import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlens.base import files, strict_json
from convlens.base.errors import InputError
from convlens.data.layout.parts import PARTS
from convlens.data.naming import listed, natural, printable, read_as_utf8

Assigned = list[tuple[str, str, str]]
"""(part, class, path) of each file."""


_MOST_NAMES = 1 << 24  # bytes of a file of names


def names_of(given: Any) -> list[str]:
    """The names of classes that a user gave: a list; a file with one name per line, or a JSON list of names; or such a
    JSON list as text. Raises `InputError` where that gives no two different names."""
    if isinstance(given, (str, Path)):
        text = str(given)
        if not text.lstrip().startswith("["):
            text = files.read_bytes(Path(text).expanduser(), _MOST_NAMES).decode("utf-8-sig", errors="replace")
        is_json = text.lstrip().startswith("[")
        given = strict_json.loads(text, "--classes") if is_json else [line.strip() for line in text.splitlines()]
        given = given if is_json else [line for line in given if line]
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) and name.strip() for name in given):
        raise InputError('classes: expected a file with one name per line, or names as in ["cat", "dog"]')
    names = [_nfc(name) for name in given]
    if len(names) < 2:
        raise InputError(f"classes: expected two names or more, not {len(names)}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"classes: '{printable(twice[0])}' is named twice; give each class its own name")
    return names


@dataclass(frozen=True)
class Layout:
    """The meaning of a set of image files.

    classes: in natural order, so that folders "2" and "10" are in the order of the numbers; or as the user gave them.
    parts: for each part ("train", "val", "test"), (path, label) in order of class, then of path.
    notes: what a person should know, one line each.
    left_out: (path, reason) of the files that belong to no class.
    """

    classes: tuple[str, ...]
    parts: dict[str, list[tuple[str, int]]]
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def number(
    assigned: Assigned, title: str, notes: list[str], left_out: list[tuple[str, str]], given: list[str] | None = None
) -> Layout:
    """The layout of files whose part and class are known. notes, left_out: of finding that out; more is added.

    given: the classes that count, in this order, or the names of classes that are numbers.

    Two forms of one name in Unicode are one class; so are names of other case in another part than training. A part may
    lack classes. Raises `InputError` if there is no training part, only one class, or a class only outside of training.
    """
    assigned = _same_case(_composed(assigned, notes), notes)
    if given:
        assigned = _chosen(assigned, given, title, notes, left_out)
    by_part = {part: {name for p, name, _ in assigned if p == part} for part in PARTS}
    by_part = {part: names for part, names in by_part.items() if names}
    if "train" not in by_part:
        raise InputError(f"{title}: no class has images to train on; put some into train/")
    names = sorted(by_part["train"], key=natural) if not given else list(dict.fromkeys(_nfc(name) for name in given))
    _compare(by_part, title, notes)
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
    _say_alike(names, notes)
    return Layout(tuple(printable(name) for name in names), parts, notes, left_out)


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", read_as_utf8(name))


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip(" .\u3000")


def _composed(assigned: Assigned, notes: list[str]) -> Assigned:
    """The same name in two forms of Unicode is the same class."""
    forms: dict[str, set[str]] = defaultdict(set)
    for _, name, _ in assigned:
        forms[_nfc(name)].add(name)
    notes += [
        f"class '{printable(name)}' is written in {len(written)} forms of Unicode (NFC, NFD): taken as one class"
        for name, written in sorted(forms.items()) if len(written) > 1
    ]  # fmt: skip
    return [(part, _nfc(name), path) for part, name, path in assigned]


def _same_case(assigned: Assigned, notes: list[str]) -> Assigned:
    """A class that only another part has, and training has in another case, is that of training."""
    by_part: dict[str, set[str]] = defaultdict(set)
    for part, name, _ in assigned:
        by_part[part].add(name)
    trained: dict[str, list[str]] = defaultdict(list)
    for name in by_part["train"]:
        trained[_fold(name)].append(name)
    meant: dict[tuple[str, str], str] = {}
    for part in by_part.keys() - {"train"}:
        for name in sorted(by_part[part] - by_part["train"], key=natural):
            same = trained.get(_fold(name), [])
            if len(same) == 1 and same[0] not in by_part[part]:
                meant[part, name] = same[0]
                notes.append(f"class '{printable(name)}' of {part} is taken as '{printable(same[0])}' of train")
    return [(part, meant.get((part, name), name), path) for part, name, path in assigned]


def _chosen(
    assigned: Assigned, given: list[str], title: str, notes: list[str], left_out: list[tuple[str, str]]
) -> Assigned:
    """The files of the classes that the user named; where the classes are numbers, under the names given."""
    wanted = [_nfc(name) for name in given]
    if len(set(wanted)) < len(wanted):
        raise InputError("--classes: two classes have the same name; give each its own")
    found = {name for _, name, _ in assigned}
    if not found & set(wanted) and all(name.strip().isdecimal() for name in found):
        numbers = sorted(found, key=int)
        if len(numbers) != len(wanted):
            raise InputError(f"{title}: {len(numbers)} classes, but --classes gives {len(wanted)} names; give as many")
        names = dict(zip(numbers, wanted, strict=True))
        return [(part, names[name], path) for part, name, path in assigned]
    trained = {name for part, name, _ in assigned if part == "train"}
    if missing := [name for name in wanted if name not in trained]:
        raise InputError(
            f"{title}: there are no training images of {_quoted(missing)}, which --classes names; "
            f"there are {_quoted(sorted(found, key=natural))}"
        )
    counted = set(wanted)
    rest = [(name, path) for _, name, path in assigned if name not in counted]
    if rest:
        left_out += [(path, "its class is not among --classes") for _, path in rest]
        others = sorted({name for name, _ in rest}, key=natural)
        notes.append(f"{len(rest):,} images of {_quoted(others)} left out: not among --classes")
    return [item for item in assigned if item[1] in counted]


def _compare(by_part: dict[str, set[str]], title: str, notes: list[str]) -> None:
    for part, names in by_part.items():
        if extra := sorted(names - by_part["train"], key=natural):
            raise InputError(
                f"{title}: class {_quoted(extra)} has images in {part} but none in train; add some, correct the name, "
                "or name the classes that count with --classes"
            )
        if lacking := sorted(by_part["train"] - names, key=natural):
            notes.append(f"{part} has no images of class {_quoted(lacking)}")


def _say_alike(names: list[str], notes: list[str]) -> None:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_fold(name)].append(name)
    notes += [
        f"classes {_quoted(same)} differ only in case, width, spaces or dots; merge them if they are one"
        for same in alike.values() if len(same) > 1
    ]  # fmt: skip


def _quoted(names: list[str]) -> str:
    return listed(names, "'{}'")
