"""Folders, zip and tar archives of image files, walked member by member. Archives are never unpacked to disk."""

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from convlens.base.errors import InputError
from convlens.data.decode import EXTENSIONS
from convlens.data.naming import natural, printable

RATIO_LIMIT, RATIO_FLOOR = 100, 1 << 20
"""An archive that unpacks to more than RATIO_LIMIT times its size, and more than RATIO_FLOOR bytes, is refused."""

Blob = bytes | Path
Opener = Callable[[], Blob]


class MemberError(InputError):
    """One file of a container cannot be read; the others can."""


class Container(Protocol):
    """Something that holds image files.

    path: where it is. slow_to_list: whether listing it means reading all of it.
    """

    path: Path
    slow_to_list: bool

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

    def identity(self) -> str:
        """Changes when the content does (judged by sizes and times of modification)."""
        ...


def open_container(path: Path) -> Container:
    """The container at `path`. Raises `InputError` if it is neither folder, zip nor tar."""
    if path.is_dir():
        return Folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return Zip(path)
    if head[257:262] == b"ustar" or _unpacker(head) or path.suffix == ".tar":
        return Tar(path)
    raise InputError(f"{path}: neither a folder nor a zip or tar archive; give a folder of images in class folders")


def is_candidate(path: str) -> bool:
    """Whether a file counts as an image by its name and place."""
    parts = path.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and posixpath.splitext(parts[-1])[1].lower() in EXTENSIONS


class Folder:
    """A folder. Links to files and folders are followed; a folder is visited once, so loops end."""

    slow_to_list = False

    def __init__(self, path: Path):
        self.path = path
        self._listing: list[tuple[str, os.stat_result]] | None = None

    def files(self) -> Iterator[tuple[str, Opener]]:
        """See `Container.files`."""
        for path, _ in self._list():
            yield path, lambda path=path: self.path / path

    def reader(self) -> Callable[[str], Blob]:
        """See `Container.reader`."""
        return lambda path: self.path / path

    def identity(self) -> str:
        """See `Container.identity`."""
        digest = hashlib.blake2b(os.fsencode(self.path.resolve()), digest_size=16)
        for path, status in self._list():
            digest.update(f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape"))
        return digest.hexdigest()

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
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = prefix + entry.name
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    status = _status(entry)
                    if status is None:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        (links if entry.is_symlink() else queue).append(f"{path}/")
                    elif stat.S_ISREG(status.st_mode) and is_candidate(path):
                        found.append((path, status))
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


class _Archive:
    def __init__(self, path: Path):
        self.path = path
        self.size = path.stat().st_size

    def identity(self) -> str:
        """See `Container.identity`."""
        status = self.path.stat()
        text = f"{self.path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def refuse(self, why: str) -> InputError:
        return InputError(f"{self.path}: refused, {why}; if you trust it, unpack it yourself and give the folder")

    def check_member(self, name: str) -> None:
        """Refuses names that lead out of the folder into which the archive would be unpacked."""
        plain = name.replace("\\", "/")
        if plain.startswith("/") or plain[1:2] == ":" or ".." in plain.split("/"):
            raise self.refuse(f"the member '{printable(name)}' climbs out of its folder")

    def check_total(self, unpacked: int) -> None:
        if unpacked > max(RATIO_LIMIT * self.size, RATIO_FLOOR):
            raise self.refuse(f"it unpacks to more than {RATIO_LIMIT} times its size")


class Zip(_Archive):
    """A zip archive. Encrypted members cannot be read and count as damaged."""

    slow_to_list = False

    def files(self) -> Iterator[tuple[str, Opener]]:
        """See `Container.files`."""
        with self._open() as archive:
            for path, member in self._members(archive).items():
                yield path, lambda member=member: self._content(archive, member)

    def reader(self) -> Callable[[str], Blob]:
        """See `Container.reader`. The archive stays open as long as the function lives."""
        archive, one_at_a_time = self._open(), threading.Lock()  # ZipFile counts its readers without one
        members = self._members(archive)

        def read(path: str) -> bytes:
            with one_at_a_time:
                return self._content(archive, members[path])

        return read

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
            raise InputError(f"{self.path}: damaged zip archive ({error}); copy or download it again") from error

    def _members(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            self.check_member(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise self.refuse(f"the member '{printable(member.filename)}' is a link")
            if not member.is_dir() and is_candidate(member.filename):
                members.setdefault(posixpath.normpath(member.filename), member)
        self.check_total(sum(member.file_size for member in archive.infolist()))
        return members

    def _content(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
        # zipfile reads no more than the announced size, and that was counted
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError) as error:
            raise MemberError(f"cannot be unpacked ({error})") from error


class Tar(_Archive):
    """A tar archive, plain or compressed by gzip, bzip2 or xz, read from start to end."""

    slow_to_list = True

    def files(self) -> Iterator[tuple[str, Opener]]:
        """See `Container.files`."""
        seen: set[str] = set()
        for path, content in self.members():
            if is_candidate(path) and path not in seen:
                seen.add(path)
                yield path, content

    def reader(self) -> Callable[[str], Blob]:
        """See `Container.reader`."""
        raise InputError(f"{self.path}: a tar has no index to find a file by; unpack it, or pack it as a zip")

    def members(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """(path, a function that gives the content, to be called before the next item) of every plain file."""
        with self._damage(), self.path.open("rb") as raw:
            unpack = _unpacker(raw.read(6))
            raw.seek(0)
            counted = cast(BinaryIO, _Counted(unpack(raw) if unpack else raw, self.check_total))
            with tarfile.open(fileobj=counted, mode="r|") as archive:
                yield from self._members(archive)

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """Names the archive in any error of reading it."""
        try:
            yield
        except InputError:
            raise
        except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            raise InputError(f"{self.path}: damaged tar archive ({error}); copy or download it again") from error

    def _members(self, archive: tarfile.TarFile) -> Iterator[tuple[str, Callable[[], bytes]]]:
        total = 0
        for member in archive:
            self.check_member(member.name)
            if member.issym() or member.islnk():
                raise self.refuse(f"the member '{printable(member.name)}' is a link")
            if not (member.isfile() or member.isdir()) or member.sparse is not None:
                raise self.refuse(f"the member '{printable(member.name)}' is no plain file")
            total += member.size
            self.check_total(total)
            if member.isfile():
                file = archive.extractfile(member)
                assert file is not None
                yield posixpath.normpath(member.name), lambda file=file: self._content(file)

    def _content(self, file: IO[bytes]) -> bytes:
        with self._damage():
            return file.read()


def _unpacker(head: bytes) -> Callable[[BinaryIO], BinaryIO] | None:
    for magic, unpack in (
        (b"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw)),
        (b"BZh", bz2.BZ2File),
        (b"\xfd7zXZ\0", lzma.LZMAFile),
    ):
        if head.startswith(magic):
            return cast(Callable[[BinaryIO], BinaryIO], unpack)
    return None


class _Counted(io.RawIOBase):
    """A stream that reports how much has been read from it, before it hands it on."""

    def __init__(self, stream: BinaryIO, check: Callable[[int], None]):
        self._stream, self._check, self._total = stream, check, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._total += len(data)
        self._check(self._total)
        return data
