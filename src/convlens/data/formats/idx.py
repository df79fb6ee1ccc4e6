"""The IDX format of MNIST and its descendants, gzip-compressed or not."""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.images import Images
from convlens.data.naming import printable
from convlens.data.source import ArraySource

RATIO_LIMIT, RATIO_FLOOR = 100, 1 << 26
"""A compressed file is refused if it unpacks to more than RATIO_LIMIT times its size and RATIO_FLOOR bytes."""

_NAME = re.compile(
    r"(?P<set>.*?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx(?P<ndim>[13])-ubyte(\.gz)?", re.DOTALL
)
_KINDS = {"images": 3, "labels": 1}
_AGAIN = "download or copy the file again"


def read_idx(path: Path) -> np.ndarray:
    """A read-only uint8 array from an IDX file, gzip-compressed or not (told by content, not by name).

    Raises `InputError` that names the file if it is no IDX file of unsigned bytes, is cut off, or its header
    announces another amount of data than there is. No more is unpacked than the header announces.
    """
    with _opened(path) as (file, size, compressed):
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 4:
            raise InputError(f"{path}: not an IDX file; give the original file, or delete it to have it downloaded")
        if head[2] != 0x08:
            raise InputError(
                f"{path}: IDX values of type 0x{head[2]:02x}; only unsigned bytes (0x08) are images or labels"
            )
        sizes = file.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise InputError(f"{path}: truncated within its header; {_AGAIN}")
        shape = tuple(int.from_bytes(sizes[k : k + 4], "big") for k in range(0, len(sizes), 4))
        expected = int(np.prod(shape, dtype=object))
        limit = max(RATIO_LIMIT * size, RATIO_FLOOR) if compressed else size
        body = file.read(min(expected, limit) + 1)
        said = f"its header announces {' x '.join(map(str, shape))} = {expected:,} bytes"
        if len(body) < min(expected, limit + 1):
            raise InputError(f"{path}: truncated: {said}, the file holds {len(body):,}; {_AGAIN}")
        if len(body) > limit:
            raise InputError(f"{path}: refused, it unpacks to more than {RATIO_LIMIT} times its size")
        if len(body) > expected:
            raise InputError(f"{path}: damaged: {said}, the file holds more; {_AGAIN}")
    return np.frombuffer(body, np.uint8).reshape(shape)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int, bool]]:
    """(the unpacked file, its size on disk, whether it is compressed); errors of either kind named."""
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            size = path.stat().st_size
            if compressed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield unpacked, size, True  # type: ignore[misc]
            else:
                yield raw, size, False
    except EOFError:
        raise InputError(f"{path}: truncated: the compressed data end too early; {_AGAIN}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged compressed data ({error}); {_AGAIN}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def find_files(folder: Path, *, whole: bool = False) -> dict[tuple[str, str], Path]:
    """The files of an MNIST-like set in `folder`, by (part, kind): ("train", "images") and so on; {} if none.

    Names: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-... (or test-...), with "." for the last "-" before
    idx, with .gz, and with a word before them that all have, as they are found in the wild. Raises `InputError` if
    images lack their labels, or labels their images; with `whole` also if one pair is there and the other is not; and
    if two sets lie together.
    """
    found: dict[tuple[str, str], Path] = {}
    sets: set[str] = set()
    with files.explained("list", folder):
        names = sorted(path.name for path in folder.iterdir())
    for name in names:
        match = _NAME.fullmatch(name)
        if match and (folder / name).is_file() and _KINDS[match["kind"]] == int(match["ndim"]):
            sets.add(match["set"])
            found.setdefault(("train" if match["part"] == "train" else "test", match["kind"]), folder / name)
    if len(sets) > 1:
        both = ", ".join(printable(f"{name}train-...") for name in sorted(sets))
        raise InputError(f"{folder}: files of {len(sets)} sets lie together ({both}); give each a folder of its own")
    for part, prefix in (("train", "train"), ("test", "t10k")):
        for kind, ndim in _KINDS.items():
            begun = found if whole else [key for key in found if key[0] == part]
            if begun and (part, kind) not in found:
                raise InputError(
                    f"{folder}: there is {next(iter(found.values())).name}, but {min(sets)}{prefix}-{kind}-idx{ndim}"
                    "-ubyte(.gz) is missing; add it"
                )
    return found


def source(files: dict[tuple[str, str], Path], classes: tuple[str, ...] | None, name: str) -> ArraySource:
    """A source from the files that `find_files` found. One pair alone is the training part, whatever it is called.

    classes: None takes "0", "1", ... up to the largest label; where not each of them occurs, as where labels begin with
    1, only those that do, and that is noted.
    """
    notes: list[str] = []
    if ("train", "images") not in files:
        files = {("train", kind): path for (_, kind), path in files.items()}
        notes.append(f"only {files['train', 'images'].name} and its labels are there: all of it is divided")
    values = None
    if classes is None:
        values = np.unique(
            np.concatenate([read_idx(p).reshape(-1) for (_, kind), p in files.items() if kind == "labels"])
        )
        classes = tuple(map(str, values.tolist()))
        if values.tolist() != list(range(len(values))):
            notes.append(f"the labels are not 0 to {len(values) - 1}: each value that occurs is a class of that name")
    shape = _shape(files["train", "images"])
    return ArraySource(name, lambda: read_parts(files, classes, name, values), classes, (1, *shape), tuple(notes))


def _shape(path: Path) -> tuple[int, int]:
    """(H, W) from the header of an IDX file of images."""
    with _opened(path) as (file, _, _):
        head = file.read(16)
    if len(head) < 16 or head[:4] != b"\0\0\x08\x03":
        raise InputError(f"{path}: not an IDX file of images (3 dimensions of unsigned bytes)")
    height, width = int.from_bytes(head[8:12], "big"), int.from_bytes(head[12:16], "big")
    if not (height and width):
        raise InputError(f"{path}: its header announces images of {height} x {width} pixels; {_AGAIN}")
    return height, width


def read_parts(
    files: dict[tuple[str, str], Path], classes: tuple[str, ...], name: str, values: np.ndarray | None = None
) -> dict[str, Images]:
    """Training images and, where there are any, test images.

    values: the label in the files of each class, increasing; by default 0, 1, ...
    Raises `InputError` if images and labels do not belong together or a label is no class.
    """
    values = np.arange(len(classes)) if values is None else values
    return {
        part: _part(files[part, "images"], files[part, "labels"], values, classes, name)
        for part in ("train", "test") if (part, "images") in files
    }  # fmt: skip


def _part(image_path: Path, label_path: Path, values: np.ndarray, classes: tuple[str, ...], name: str) -> Images:
    pixels, labels = read_idx(image_path), read_idx(label_path)
    for path, array, ndim in ((image_path, pixels, 3), (label_path, labels, 1)):
        if array.ndim != ndim:
            raise InputError(f"{path}: has {array.ndim} dimensions instead of {ndim}; are images and labels mixed up?")
    if len(pixels) != len(labels):
        raise InputError(
            f"{label_path}: {len(labels):,} labels, but {image_path.name} has {len(pixels):,} images; "
            "these files do not belong together"
        )
    unknown = np.flatnonzero(~np.isin(labels, values))
    if len(unknown):
        span = f" ({classes[0]} to {classes[-1]})" if classes else ""
        raise InputError(
            f"{label_path}: label {labels[unknown[0]]} at position {unknown[0]}, but {name} has only {len(classes)} "
            f"classes{span}; is this the right label file?"
        )
    return Images(pixels[..., None], np.searchsorted(values, labels).astype(np.int64), classes, name)
