"""The pictures of a container: their paths and common shape; kept in the cache where finding them took long."""

import hashlib
import io
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from convlens.base.errors import InputError
from convlens.data.decode import open_image, orientation
from convlens.data.formats.containers import Blob, Container, Opener
from convlens.data.limits import max_bytes, max_pixels
from convlens.data.store import cache
from convlens.data.suffixes import has_heif

_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")


Look = tuple[int, int, bool]
"""(H, W) when upright, and whether it is gray."""


class _Kept(BaseModel):
    """What the cache keeps of a listed container.

    looks: of each path; None for what cannot be read. tables: by path, each byte a character.
    """

    model_config = ConfigDict(extra="forbid")

    paths: list[str]
    looks: list[Look | None]
    tables: dict[str, str] = {}

    @classmethod
    def of(cls, value: Any) -> "_Kept | None":
        try:
            found = cls.model_validate(value)
        except ValidationError:
            return None
        whole = len(found.paths) == len(found.looks) and all(
            max(text, default="") < "\u0100" for text in found.tables.values()
        )
        return found if whole else None


def common(looks: Iterable[Look | None]) -> tuple[int, int, int] | None:
    """The (C, H, W) that all have, as far as they could be read; None if they differ."""
    sizes: set[tuple[int, int]] = set()
    color = False
    for seen in looks:
        if seen is not None:
            sizes.add(seen[:2])
            color = color or not seen[2]
            if len(sizes) > 1:
                return None
    return (3 if color else 1, *sizes.pop()) if sizes else None


class Headers:
    """The pictures of a container by name, and what their headers say.

    paths: of all of them. A tar is read to its end at once, headers included, as that takes long; of others the headers
    are read by `native`.
    """

    def __init__(self, container: Container):
        self.container = container
        self._kept: _Kept | None = None
        if container.slow_to_list:
            self._kept = self._all()
        self.paths = [path for path, _ in container.files()] if self._kept is None else self._kept.paths

    def tables(self) -> Mapping[str, bytes | Path]:
        """See `Container.tables`."""
        if self._kept is None:
            return self.container.tables()
        return {path: text.encode("latin-1") for path, text in self._kept.tables.items()}

    def native(self, used: set[str]) -> tuple[int, int, int] | None:
        """The common (C, H, W) of the pictures that are used, None if they differ."""
        return common(self._looks(used))

    def _looks(self, used: set[str]) -> Iterator[Look | None]:
        if self._kept is not None:
            yield from (seen for path, seen in zip(self._kept.paths, self._kept.looks, strict=True) if path in used)
            return
        names = hashlib.blake2b("\0".join(sorted(used)).encode(errors="surrogateescape"), digest_size=16).hexdigest()
        key = f"{self.container.identity()}-{names}-{readable()}"
        if kept := _Kept.of(cache.load_json("listings", key)):
            yield from kept.looks
            return
        started = time.monotonic()
        found = []
        for path, content in self.container.files():
            if path in used:
                found.append(look(content))
                yield found[-1]
        if time.monotonic() - started >= cache.WORTH_SECONDS:
            cache.save_json("listings", key, {"paths": [""] * len(found), "looks": found})

    def _all(self) -> _Kept:
        key = f"{self.container.identity()}-tables-{readable()}"
        if kept := _Kept.of(cache.load_json("listings", key)):
            return kept
        started = time.monotonic()
        found = {path: look(content) for path, content in self.container.files()}
        tables = {path: bytes(text).decode("latin-1") for path, text in self.container.tables().items()}
        listing = _Kept(paths=list(found), looks=list(found.values()), tables=tables)
        if time.monotonic() - started >= cache.WORTH_SECONDS:
            cache.save_json("listings", key, listing.model_dump())
        return listing


def readable() -> str:
    """What decides whether a header can be read, and how it is kept."""
    return f"{cache.FORMAT}-{has_heif():d}-{max_bytes()}-{max_pixels()}"


def look(content: Opener) -> Look | None:
    """What the header of a picture says; None for one that cannot be read."""
    try:
        size, gray = _header(content())
    except InputError:  # also of the container; named when the images are read
        return None
    return (*size, gray)


def _header(blob: Blob) -> tuple[tuple[int, int], bool]:
    """((H, W) when upright, whether it is gray) from an image file's header."""
    with open_image(io.BytesIO(blob) if isinstance(blob, bytes) else blob) as image:
        width, height = image.size
        gray = image.mode in _GRAY_MODES or image.mode.startswith("I;")
        return ((width, height) if orientation(image) > 4 else (height, width)), gray
