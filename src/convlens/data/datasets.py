"""Pictures that come one by one: a `Dataset` of PyTorch or another library, or a list of pictures with their labels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from convlens.base.errors import InputError
from convlens.data.arrays import by_name, is_part, named_parts
from convlens.data.decode import is_turned, open_image
from convlens.data.images import Images
from convlens.data.labels import number, on_cpu, read
from convlens.data.preprocess import Preprocess
from convlens.data.source import Progress, Reading, said_of_turned

_PICTURE = ("image", "img", "picture", "pixels", "pixel_values", "x")
_LABEL = ("label", "labels", "target", "class", "y")
_NAME = "images"
_GRAY = ("1", "L", "LA", "La", "I", "F")


def is_dataset(value: Any, least: int = 4) -> bool:
    """Whether it gives its items by number: it has `__len__` and `__getitem__`, and is no array and no mapping.

    A list of (picture, label) counts from so many on: two or three pairs may as well be the parts of a set.
    """
    if isinstance(value, (str, bytes, Mapping, Images, tuple)) or hasattr(value, "dtype"):
        return False
    if isinstance(value, list):
        return len(value) >= least and all(isinstance(item, tuple) and len(item) == 2 for item in value)
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def datasets_of(given: Any) -> dict[str, Any] | None:
    """The parts of what was handed over, if it is one or several datasets or lists of pictures; else None."""
    if is_dataset(given):
        return {"train": given}
    if isinstance(given, Mapping):
        parts = {part: _dataset(value, least=1) for part, value in named_parts(given).items()}
        found = [part for part, value in parts.items() if value is not None]
        if found and len(found) < len(parts):
            raise InputError(f"data: {found[0]} is a dataset and another part is not; give all parts in the same way")
        return parts if found else None
    if isinstance(given, (tuple, list)) and len(given) in (2, 3) and all(map(is_dataset, given)):
        names = ("train", "test") if len(given) == 2 else ("train", "val", "test")
        return dict(zip(names, given, strict=True))
    one = _dataset(given)
    return None if one is None else {"train": one}


def _dataset(value: Any, least: int = 4) -> Any:
    """A dataset, or one made of a list of pictures that are no arrays of one size and their labels; else None."""
    if is_dataset(value, least):
        return value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return None
    if all(map(is_part, value)):  # ((x, y), (x, y)): two parts of arrays
        return None
    pictures = value[0].tolist() if getattr(getattr(value[0], "dtype", None), "kind", "") in ("O", "U") else value[0]
    if not isinstance(pictures, (list, tuple)) or not len(pictures):
        return None
    encoded = isinstance(pictures[0], (str, os.PathLike, bytes, Image.Image))
    shapes = {tuple(getattr(picture, "shape", ())) for picture in pictures}
    differ = len(shapes) > 1 and all(len(shape) in (2, 3) for shape in shapes)
    return Zipped(pictures, value[1]) if encoded or differ else None


class Zipped:
    """A list of pictures and their labels as a dataset."""

    def __init__(self, pictures: Sequence[Any], labels: Any):
        self.pictures, self.labels = pictures, read(labels, "images").values
        if len(self.pictures) != len(self.labels):
            raise InputError(f"{len(pictures)} pictures but {len(self.labels)} labels; give one label per picture")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.pictures[index], self.labels[index]


@dataclass(frozen=True, eq=False)
class DatasetSource:
    """See `Source`. Each item is (picture, label), or a mapping with the two under their usual names.

    A picture is whatever `Preprocess.prepare` takes; a tensor or array may have its channels first. Every item is
    asked for twice: for its label and size, and when it is read. Random transforms of the dataset are then fixed.
    """

    parts: Mapping[str, Any]
    labels: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    native: tuple[int, int, int] | None
    notes: tuple[str, ...] = ()
    name: str = _NAME

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> "DatasetSource":
        """Of datasets by part, each item of which is asked for its label and size."""
        labels: dict[str, list[Any]] = {}
        looks: set[tuple[int, int, int] | None] = set()
        for part, items in parts.items():
            labels[part] = []
            for index in range(len(items)):
                picture, label = _item(items, index, part)
                labels[part].append(label)
                looks.add(_look(picture))
        first = "train" if "train" in parts else next(iter(parts))
        given = _names(parts[first])
        found = {part: read(values, _NAME) for part, values in labels.items()}
        _, classes, note = number(found[first], given, _NAME)
        numbers = {
            part: number(
                values if part == first or given is not None else by_name(values, classes, part),
                classes if part != first else given, _NAME,
            )[0]
            for part, values in found.items()
        }  # fmt: skip
        kind = type(parts[first]).__name__
        how = (
            "" if isinstance(parts[first], (list, Zipped)) else f"each item of the {kind} is read once, as it gives it"
        )
        native = looks.pop() if len(looks) == 1 else None
        return cls(parts, numbers, classes, native, tuple(said for said in (how, note) if said))

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> Reading:
        """See `Source.read`."""
        skipped: list[tuple[str, str]] = []
        turned, done, total = 0, 0, sum(map(len, self.parts.values()))
        read_parts: dict[str, Images] = {}
        for part, items in self.parts.items():
            pixels = np.empty((len(items), *preprocess.size, preprocess.channels), np.uint8)
            good = np.zeros(len(items), bool)
            for index in range(len(items)):
                picture, _ = _item(items, index, part)
                try:
                    pixels[index] = preprocess.prepare(picture, f"{part}[{index}]")
                    good[index] = True
                    turned += is_turned(picture)
                except InputError as error:
                    if isinstance(picture, np.ndarray):  # no damaged file, but a type or scale that fits none
                        raise
                    skipped.append((f"{part}[{index}]", str(error)))
                done += 1
                if on_progress:
                    on_progress(done, total)
            labels = self.labels[part]
            kept = (pixels, labels) if good.all() else (pixels[good], labels[good])
            read_parts[part] = Images(*kept, self.classes, self.name)
        return Reading(read_parts, tuple(skipped), (*self.notes, *said_of_turned(turned)), turned)


def _item(items: Any, index: int, part: str) -> tuple[Any, Any]:
    try:
        item = items[index]
    except Exception as error:  # the user's code: anything may be raised there
        raise InputError(f"{part}[{index}]: the dataset raises {type(error).__name__}: {error}") from error
    if isinstance(item, Mapping):
        keys = [[key for key in known if key in item] for known in (_PICTURE, _LABEL)]
        if len(keys[0]) != 1 or len(keys[1]) != 1:
            raise InputError(
                f"{part}[{index}] has {', '.join(map(str, item))}; give (picture, label), or image and label"
            )
        item = (item[keys[0][0]], item[keys[1][0]])
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise InputError(f"{part}[{index}] is a {type(item).__name__}; each item must be (picture, label)")
    return _picture(item[0], f"{part}[{index}]"), on_cpu(item[1])


def _picture(value: Any, name: str) -> Any:
    if isinstance(value, (Image.Image, str, os.PathLike, bytes)):
        return value
    try:
        array = np.asarray(on_cpu(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: cannot be read as a picture ({error})") from None
    first = array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 2, 3, 4)
    return np.moveaxis(array, 0, -1) if first else array


def _look(picture: Any) -> tuple[int, int, int] | None:
    """(C, H, W) with C = 1 or 3; None if it cannot be read."""
    if isinstance(picture, np.ndarray):
        if picture.ndim not in (2, 3):
            return None
        return (1 if picture.ndim == 2 or picture.shape[2] < 3 else 3), *picture.shape[:2]
    if not isinstance(picture, Image.Image):
        try:
            with open_image(picture) as opened:
                return _look_of(opened)
        except InputError:
            return None
    return _look_of(picture)


def _look_of(image: Image.Image) -> tuple[int, int, int]:
    gray = image.mode in _GRAY or image.mode.startswith("I;")
    return (1 if gray else 3), image.height, image.width


def _names(items: Any) -> Sequence[str] | None:
    """The names of the classes, where a dataset has them."""
    names = getattr(items, "classes", None)
    if names is None and hasattr(items, "features"):
        known = [items.features[key] for key in _LABEL if key in items.features]
        names = getattr(known[0], "names", None) if known else None
    return list(map(str, names)) if isinstance(names, (list, tuple)) and names else None
