"""What a container of image files gives: contents by name. Which names count, and how large a file may be."""

import posixpath
from collections.abc import Callable
from pathlib import Path

from convlens.base.errors import InputError
from convlens.data.decode import EXTENSIONS

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
    parts = path.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and posixpath.splitext(parts[-1])[1].lower() in EXTENSIONS
