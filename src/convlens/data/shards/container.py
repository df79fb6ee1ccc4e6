"""Shards as a container of pictures: by their index, so in any order."""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.formats.headers import common
from convlens.data.formats.members import Opener
from convlens.data.layout.classes import Assigned
from convlens.data.naming import printable
from convlens.data.shards.index import Pictures, index
from convlens.data.shards.names import Shard
from convlens.data.shards.places import Places, changed
from convlens.data.source import Progress


class Shards:
    """See `Container`. Each shard is indexed when the first thing is asked for.

    text: what the user wrote for them.
    """

    slow_to_list = False

    def __init__(self, text: str, shards: list[Shard], places: Places, on_progress: Progress | None = None):
        self.path = text
        self.shards, self.places, self._on_progress = shards, places, on_progress

    @cached_property
    def indexes(self) -> list[Pictures]:
        """Of each shard. Raises `InputError` that names a shard which cannot be read."""
        found = []
        for number, shard in enumerate(self.shards):
            found.append(index(shard, self.places))
            if self._on_progress:
                self._on_progress(number + 1, len(self.shards))
        return found

    @cached_property
    def _rows(self) -> dict[str, tuple[int, int]]:
        """(shard, row in it) of each picture by its path."""
        rows: dict[str, tuple[int, int]] = {}
        for number, pictures in enumerate(self.indexes):
            for row, path in enumerate(pictures.paths):
                if path in rows:
                    other = self.shards[rows[path][0]]
                    raise InputError(
                        f"{self.shards[number].place} and {other.place} both have {printable(path)}; give each picture "
                        "a name of its own"
                    )
                rows[path] = (number, row)
        return rows

    @property
    def paths(self) -> list[str]:
        """Of all pictures."""
        return list(self._rows)

    def files(self) -> Iterator[tuple[str, Opener]]:
        """See `Container.files`: shard after shard."""
        return ((path, lambda path=path: self.content(path)) for path in self._rows)

    def reader(self) -> Callable[[str], bytes]:
        """See `Container.reader`."""
        return self.content

    def content(self, path: str) -> bytes:
        """Of a picture. Raises `InputError` that names its shard where that is gone or no longer the one indexed."""
        number, row = self._rows[path]
        shard, pictures = self.shards[number], self.indexes[number]
        offset, size, crc = pictures.places[row].tolist()
        while True:
            with self.places.at(shard, pictures.mark) as place:
                content = files.read_piece(place, offset, size)
            if zlib.crc32(content) == crc:
                return content
            if not self.places.forget(shard, pictures.mark):
                raise changed(shard)

    def tables(self) -> Mapping[str, bytes | Path]:
        """See `Container.tables`."""
        return {}

    def remarks(self) -> list[str]:
        """See `Container.remarks`."""
        return []

    def identity(self) -> str:
        """See `Container.identity`."""
        digest = hashlib.blake2b(digest_size=16)
        for shard, pictures in zip(self.shards, self.indexes, strict=True):
            digest.update(f"{shard.place}\0{pictures.mark}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def labels(self) -> Assigned | None:
        """(part, class, path) of each picture; None if nothing in the shards says the class of any.

        Raises `InputError` where only some have a label.
        """
        classes = [name for pictures in self.indexes for name in pictures.classes]
        if not any(classes):
            return None
        found: Assigned = []
        for shard, pictures in zip(self.shards, self.indexes, strict=True):
            for part, name, path, member in zip(
                pictures.parts, pictures.classes, pictures.paths, pictures.members, strict=True
            ):
                if not name:
                    raise InputError(f"{shard.place}: {printable(member)} has no label; others have a .cls or .json")
                found.append((part, name, path))
        return found

    def native(self, used: set[str]) -> tuple[int, int, int] | None:
        """The common (C, H, W) of the pictures that are used, None if they differ."""
        return common(self.indexes[number].look(row) for path, (number, row) in self._rows.items() if path in used)

    def sizes(self) -> dict[str, int]:
        """Bytes of each picture, by its path."""
        return {path: int(self.indexes[number].places[row, 1]) for path, (number, row) in self._rows.items()}
