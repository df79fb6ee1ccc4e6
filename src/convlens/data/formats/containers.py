"""Folders, zip and tar archives of image files, walked member by member. Archives are never unpacked to disk."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.formats.archives import Tar, Zip
from convlens.data.formats.members import DEPTH_LIMIT, Blob, MemberError, Opener, UnpackError, is_candidate, is_table
from convlens.data.formats.unpacking import unpacker
from convlens.data.naming import listed, natural, printable

__all__ = [
    "Blob", "Container", "Folder", "MemberError", "Opener", "Tar", "UnpackError", "Zip", "is_candidate",
    "open_container",
]  # fmt: skip


class Container(Protocol):
    """Something that holds image files.

    path: where it is, or what the user wrote for it. slow_to_list: whether listing it means reading all of it.
    """

    slow_to_list: bool

    @property
    def path(self) -> Path | str: ...

    def remarks(self) -> list[str]:
        """What a person should know of what is no picture, one line each."""
        ...

    def files(self) -> Iterator[tuple[str, Opener]]:
        """(path inside, with slashes; a function that gives content or location, to be called before the next item).

        Image files by name only; hidden ones and __MACOSX are left out. Raises `InputError` for an archive
        that is damaged or not to be trusted; the function raises `MemberError` for a single file.
        """
        ...

    def reader(self) -> Callable[[str], Blob]:
        """A function that gives content or location of the file at a path that `files` gave, in any order, from any
        thread. It raises `MemberError`; `reader` itself raises `InputError` where files cannot be had out of order."""
        ...

    def tables(self) -> Mapping[str, bytes | Path]:
        """Files that may be tables of labels, by their path inside: their content, or where they are."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes of each picture, by its path. Raises `InputError` as `reader` does."""
        ...

    def identity(self) -> str:
        """Changes when the content does (judged by sizes and times of modification)."""
        ...


def open_container(path: Path) -> Container:
    """The container at `path`. Raises `InputError` if it is neither folder, zip nor tar."""
    if path.is_dir():
        return Folder(path)
    with files.open_plain(path) as file, files.explained("read", path):
        head = file.read(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return Zip(path)
    if head[257:262] == b"ustar" or unpacker(head) or path.suffix == ".tar":
        return Tar(path)
    raise InputError(f"{path}: neither a folder nor a zip or tar archive; give a folder of images in class folders")


class Folder:
    """A folder. Links to files and folders are followed; a folder is visited once, so loops end."""

    slow_to_list = False

    def __init__(self, path: Path):
        self.path = path
        self._listing: list[tuple[str, os.stat_result]] | None = None
        self._without_pictures: list[str] = []
        self._others = 0
        self._tables: dict[str, Path] = {}

    def files(self) -> Iterator[tuple[str, Opener]]:
        """See `Container.files`."""
        for path, _ in self._list():
            yield path, lambda path=path: self.path / path

    def reader(self) -> Callable[[str], Blob]:
        """See `Container.reader`."""
        return lambda path: self.path / path

    def tables(self) -> dict[str, Path]:
        """See `Container.tables`."""
        self._list()
        return self._tables

    def sizes(self) -> dict[str, int]:
        """See `Container.sizes`."""
        return {path: status.st_size for path, status in self._list()}

    def identity(self) -> str:
        """See `Container.identity`."""
        digest = hashlib.blake2b(os.fsencode(self.path.resolve()), digest_size=16)
        for path, status in self._list():
            digest.update(f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def remarks(self) -> list[str]:
        """See `Container.remarks`."""
        self._list()
        said = []
        if self._without_pictures:
            said.append(f"no pictures in {listed(self._without_pictures)}: no class")
        if self._others:
            one = self._others == 1
            said.append(
                f"{self._others:,} {'file that is no picture' if one else 'files that are no pictures'} passed over"
            )
        return said

    def _list(self) -> list[tuple[str, os.stat_result]]:
        if self._listing is None:
            found: list[tuple[str, os.stat_result]] = []
            seen: set[tuple[int, int]] = set()
            queue, links = [""], []
            while queue or links:  # real folders first, so that a linked one keeps its real name
                links.sort()
                self._list_one(queue.pop() if queue else links.pop(0), found, queue, links, seen)
            self._listing = sorted(found, key=lambda item: natural(item[0]))
        return self._listing

    def _list_one(self, prefix: str, found: list, queue: list[str], links: list[str], seen: set) -> None:
        folder = self.path / prefix
        if prefix.count("/") > DEPTH_LIMIT:
            top = printable(prefix.split("/", 1)[0])
            raise InputError(f"{self.path}: folders more than {DEPTH_LIMIT} deep in {top}/; give a shallower folder")
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
            pictures = inner = 0
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = prefix + entry.name
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        self._others += not entry.is_dir()
                        continue
                    status = _status(entry)
                    if status is None:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        (links if entry.is_symlink() else queue).append(f"{path}/")
                        inner += 1
                    elif stat.S_ISREG(status.st_mode) and is_candidate(path):
                        found.append((path, status))
                        pictures += 1
                    else:
                        self._others += 1
                        if stat.S_ISREG(status.st_mode) and is_table(path):
                            self._tables[path] = self.path / path
            if prefix and not pictures and not inner:
                self._without_pictures.append(prefix.removesuffix("/"))
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"{folder}: cannot be listed ({reason}); mend its permissions or remove it") from error


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Of what a link leads to; None if it leads nowhere or round in a circle, or the entry has just gone."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
