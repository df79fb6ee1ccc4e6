"""Labels as people have them (numbers of any type, one-hot rows, strings, objects) as class numbers and class names."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.data.naming import natural

_NAMED = 8  # values that a message quotes


@dataclass(frozen=True)
class Read:
    """Labels, one value per picture: int64, uint64 or str [N], and what was made of them, if anything.

    columns: how many columns they had, where they were one-hot.
    """

    values: np.ndarray
    columns: int | None = None
    note: str | None = None


def read(labels: Any, name: str) -> Read:
    """The labels of pictures, as they came, one value per picture.

    Taken: integers and bools of any type; floats that are whole; strings and bytes; object arrays and lists of these;
    tensors of any device; series; one column; one-hot rows of numbers or bools.
    Raises `InputError`, which names the first picture whose label makes no sense.
    """
    values = _array(labels, name)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        return _one_hot(values, name)
    if values.ndim != 1:
        raise InputError(f"{name}: labels must have the shape [N], or one-hot [N, K], not {list(values.shape)}")
    if values.dtype == object:
        values = _of_objects(values, name)
    if values.dtype.kind == "S":
        values = np.array([text.decode("utf-8", "surrogateescape") for text in values.tolist()], str)
    if values.dtype.kind == "U":
        return Read(_composed(values))
    if values.dtype.kind == "f":
        values = _whole(values, name)
    if values.dtype == bool:
        values = values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise InputError(f"{name}: labels must be integers or strings, not {values.dtype}")
    return Read(_checked(values.astype(np.uint64 if values.dtype == np.uint64 else np.int64), name))


def number(read: Read, classes: Sequence[str] | None, name: str) -> tuple[np.ndarray, tuple[str, ...], str | None]:
    """(int64 [N], class names, a note or None).

    classes: names given by the user: strings must be among them, integers are positions in them. Without them strings
        are their own names, in natural order. Integers are named by their value: 0 to the largest where each occurs or
        where they were one-hot, else only those that occur, so that a label of 10^9 costs no memory.
    """
    values = read.values
    if classes is not None:
        return _among(values, tuple(unicodedata.normalize("NFC", str(c)) for c in classes), name), tuple(classes), None
    distinct, inverse = np.unique(values, return_inverse=True)
    if values.dtype.kind == "U":
        order = sorted(distinct.tolist(), key=natural)
        position = {label: index for index, label in enumerate(order)}
        ranks = np.array([position[label] for label in distinct.tolist()], np.int64)
        return ranks[inverse] if len(values) else np.zeros(0, np.int64), tuple(order), None
    if read.columns is not None:
        return values.astype(np.int64), tuple(map(str, range(read.columns))), read.note
    names = tuple(map(str, distinct.tolist()))
    note = None
    if len(distinct) and (int(distinct[0]) != 0 or int(distinct[-1]) != len(distinct) - 1):
        note = f"the labels are not 0 to {len(names) - 1}: each value is a class of that name: {_some(distinct)}"
    return inverse.astype(np.int64), names, note


def on_cpu(value: Any) -> Any:
    """A tensor of any device, with or without a gradient, as one that NumPy can read; anything else as it is."""
    if not hasattr(value, "detach"):
        return value
    value = value.detach().cpu()
    return value.float() if str(value.dtype) == "torch.bfloat16" else value


def _among(values: np.ndarray, classes: tuple[str, ...], name: str) -> np.ndarray:
    if values.dtype.kind == "U":
        position = {label: index for index, label in enumerate(classes)}
        distinct, inverse = np.unique(values, return_inverse=True)
        for label in distinct.tolist():
            if label not in position:
                raise InputError(f"{name}: the label '{label}' is none of the classes {', '.join(classes[:_NAMED])}")
        return np.array([position[label] for label in distinct.tolist()], np.int64)[inverse]
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < len(classes):
        low, high = int(values.min()), int(values.max())
        hint = "; if they count from 1, subtract 1" if low >= 1 and high == len(classes) else ""
        raise InputError(
            f"{name}: labels run from {low} to {high}, but {len(classes)} classes allow 0 to {len(classes) - 1}{hint}"
        )
    return values.astype(np.int64)


def _array(labels: Any, name: str) -> np.ndarray:
    labels = list(labels) if isinstance(labels, Iterator) else on_cpu(labels)
    if np.ma.is_masked(labels):
        raise InputError(f"{name}: some labels are masked; remove these pictures")
    try:
        return _typed(np.asarray(labels), labels)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, types that NumPy does not know
        raise InputError(f"{name}: labels cannot be read as an array [N] ({' '.join(str(error).split())})") from None


def _typed(array: np.ndarray, labels: Any) -> np.ndarray:
    """Objects where NumPy turned a list of strings and numbers into strings, or of large numbers into floats."""
    if array.ndim == 1 and array.dtype.kind in "UfS" and isinstance(labels, (list, tuple)):
        kinds = {isinstance(label, (str, bytes)) for label in labels}
        if len(kinds) > 1 or (array.dtype.kind == "f" and all(isinstance(label, int) for label in labels)):
            return np.array([*labels, None], object)[:-1]
    return array


def _of_objects(values: np.ndarray, name: str) -> np.ndarray:
    items = [item.item() if isinstance(item, np.generic) or _is_scalar_tensor(item) else item for item in values]
    for index, item in enumerate(items):
        if not isinstance(item, (str, bytes, bool, int, float)):
            missing = item is None or type(item).__name__ in ("NAType", "NaTType")
            what = "has no label" if missing else f"has a label of type {type(item).__name__}"
            raise InputError(f"{name}: picture {index} {what}; labels must be integers or strings")
    texts = [isinstance(item, (str, bytes)) for item in items]
    if any(texts) and not all(texts):
        for index, item in enumerate(items):
            if isinstance(item, float) and item != item:
                raise InputError(f"{name}: picture {index} has no label (NaN); remove it or give it one")
        raise InputError(f"{name}: some labels are strings and some are numbers; make them all one kind")
    if all(texts):
        return np.array([i.decode("utf-8", "surrogateescape") if isinstance(i, bytes) else i for i in items], str)
    if all(isinstance(item, int) for item in items):
        if not all(-(1 << 63) <= item < 1 << 64 for item in items):
            return np.array([str(int(item)) for item in items])  # ids beyond 64 bits are names
        return np.array(items, np.int64 if max(items, default=0) < 1 << 63 else np.uint64)
    return np.array(items, np.float64)


def _is_scalar_tensor(item: Any) -> bool:
    return hasattr(item, "detach") and getattr(item, "ndim", None) == 0


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # NaN and infinity equal nothing here
        wrong = ~(values - np.trunc(values) == 0) | (np.abs(values) > 1 << 53)  # beyond it floats leave numbers out
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{name}: the label of picture {index} is {values[index]:g}; labels must be an integer array or strings: "
            "a class per picture, not a measured value"
        )
    return values.astype(np.int64)


def _checked(values: np.ndarray, name: str) -> np.ndarray:
    """-1 and 1 are a usual pair; any other negative number mostly says that there is no label."""
    negative = np.flatnonzero(values < 0)
    if len(negative) and not set(np.unique(values).tolist()) <= {-1, 1}:
        index = int(negative[0])
        low, high = int(values.min()), int(values.max())
        raise InputError(
            f"{name}: labels run from {low} to {high}; the label {values[index]} of picture {index} is negative: "
            "remove pictures without a label"
        )
    return values


def _one_hot(values: np.ndarray, name: str) -> Read:
    if values.dtype.kind not in "iufb":
        raise InputError(f"{name}: labels must have the shape [N], not {values.dtype} {list(values.shape)}")
    ones = values == 1
    bad = np.flatnonzero(~(((values == 0) | ones).all(axis=1) & (ones.sum(axis=1) == 1)))
    if len(bad):
        raise InputError(
            f"{name}: labels of shape {list(values.shape)} must be one-hot rows, one 1 and else 0; that of picture "
            f"{bad[0]} is not; give one label per picture"
        )
    columns = values.shape[1]
    return Read(ones.argmax(axis=1).astype(np.int64), columns, f"one-hot labels: class k is column k of {columns}")


def _composed(values: np.ndarray) -> np.ndarray:
    """Each name in one spelling, NFC: the same letters as one character or as letter and mark are one class."""
    distinct, inverse = np.unique(values, return_inverse=True)
    composed = np.array([unicodedata.normalize("NFC", text) for text in distinct.tolist()], str)
    return composed[inverse] if len(values) else values


def _some(values: np.ndarray) -> str:
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return ", ".join(map(str, values[:_NAMED].tolist())) + more
