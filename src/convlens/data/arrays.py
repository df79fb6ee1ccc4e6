"""Arrays that were handed over in Python: a pair, parts by name, or a tuple of parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.data.images import Images, stacked
from convlens.data.labels import Read, number, read
from convlens.data.layout.parts import part_of

_NAME = "images"


def parts_of(given: Any) -> tuple[dict[str, Images], tuple[str, ...]]:
    """The parts ("train", "val", "test") of what was handed over, and notes.

    given: `Images`; a pair (pixels, labels); a mapping of parts to those; two of those for train and test, three for
        train, val and test. The classes are those of the labels of train; another part may have fewer.
    """
    if isinstance(given, Images):
        return {"train": given}, ()
    if isinstance(given, Mapping):
        return _together(named_parts(given), ())
    assert isinstance(given, (tuple, list))
    if len(given) in (2, 3) and all(map(is_part, given)):
        names = ("train", "test") if len(given) == 2 else ("train", "val", "test")
        return _together(dict(zip(names, given, strict=True)), (f"taken as {', '.join(names)}, in this order",))
    if len(given) == 2:
        return _together({"train": given}, ())
    if len(given) in (4, 6):
        raise InputError(f"data: {len(given)} things; give them by part, as in {{'train': (x, y), 'test': (x, y)}}")
    raise InputError(f"data: expected a pair (pixels, labels), not {len(given)} things")


def named_parts(given: Mapping[Any, Any]) -> dict[str, Any]:
    """The values by the part that their key means."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        part = part_of(str(key)) or str(key)
        if part in found:
            raise InputError(f"data: two parts mean {part}, one of them {key!r}; give each part once")
        found[part] = value
    return found


def is_part(value: Any) -> bool:
    """Whether it is a part by itself: `Images`, or a pair of many pictures and their labels."""
    if isinstance(value, Images):
        return True
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    return all(hasattr(v, "__len__") and not isinstance(v, (str, bytes)) for v in value) and _axes(value[0]) >= 3


def _axes(value: Any) -> int:
    """How many axes an array or nested list has, by its first elements."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    return 1 + _axes(value[0]) if isinstance(value, (tuple, list)) and len(value) else 0


def _together(given: Mapping[str, Any], notes: tuple[str, ...]) -> tuple[dict[str, Images], tuple[str, ...]]:
    """Each part as `Images` with the classes of train."""
    for value in given.values():
        if not isinstance(value, Images) and not (isinstance(value, (tuple, list)) and len(value) == 2):
            raise InputError(f"a part must be Images or a pair (pixels, labels), not {type(value).__name__}")
    first = given.get("train", next(iter(given.values()), None))
    if first is None:
        raise InputError("data: there are no parts in it; give a pair (pixels, labels)")
    if isinstance(first, Images):
        own = None
        classes = first.classes
    else:
        own = read(first[1], _NAME)
        _, classes, note = number(own, None, _NAME)
        notes = (*notes, note) if note else notes
    parts = {}
    for part, value in given.items():
        if isinstance(value, Images):
            parts[part] = value
            continue
        found = own if value is first and own is not None else read(value[1], _NAME)
        labels, _, _ = number(found if own is None else by_name(found, classes, part), classes, _NAME)
        parts[part] = Images(stacked(value[0], _NAME), labels, classes, _NAME)
    return parts, notes


def by_name(found: Read, classes: Sequence[str], part: str) -> Read:
    """Integers as the names that they have in train."""
    distinct, inverse = np.unique(found.values, return_inverse=True)
    names = [str(value) for value in distinct.tolist()]
    known = set(classes)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"{_NAME}: the classes of {part} differ from those of train: not in train: {', '.join(unknown[:20])}"
            + (f" and {len(unknown) - 20} more" if len(unknown) > 20 else "")
        )
    return Read(np.array(names, str)[inverse] if len(found.values) else np.zeros(0, "<U1"))
