"""What a container of image files gives: contents by name. Which names count, and how large a file may be."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from convlens.base.errors import InputError
from convlens.data.decode import EXTENSIONS
from convlens.data.suffixes import TABLES, suffix

DEPTH_LIMIT = 100
"""Folders within folders. Deeper ones are refused: no data set has them, and every level costs time."""

Blob = bytes | Path
Opener = Callable[[], Blob]


class MemberError(InputError):
    """One file of a container cannot be read; the others can."""


class UnpackError(MemberError):
    """A file of an archive cannot be unpacked: damaged, or packed in a way that is not read."""


def is_candidate(path: str) -> bool:
    """Whether a file counts as an image by its name and place."""
    return not _is_hidden(path) and suffix(path) in EXTENSIONS


def is_table(path: str) -> bool:
    """Whether a file may be a table of labels by its name and place."""
    return not _is_hidden(path) and suffix(path) in TABLES


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


class Placed(NamedTuple):
    """A plain file of a tar: `size` bytes from `offset` on. content: gives them, before the next file is asked for."""

    path: str
    offset: int
    size: int
    content: Callable[[], bytes]
