"""Zip and tar archives, read member by member and never unpacked to disk.

An archive may be damaged or hostile. Damage is found by the checksums that the formats have: of each zip member that is
read, and of a compressed tar as a whole, which is why a tar is read to its very end. Nothing is unpacked beyond what
was announced, and what is announced is bounded.
"""

import contextlib
import hashlib
import lzma
import posixpath
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.formats.members import DEPTH_LIMIT, MemberError, Opener, Placed, UnpackError, is_candidate, is_table
from convlens.data.formats.unpacking import Counted, unpacker
from convlens.data.limits import MAX_BYTES, max_bytes
from convlens.data.naming import printable

RATIO_LIMIT, RATIO_FLOOR = 100, 1 << 20
"""An archive that unpacks to more than RATIO_LIMIT times its size, and more than RATIO_FLOOR bytes, is refused."""

MEMBERS_LIMIT, NAME_LIMIT = 2_000_000, 4096
"""Members of an archive, and characters of the name of one: the longest path of common systems."""

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # of a zip member: magic, version, flags, method, ..., length of the name
_ENCRYPTED, _UTF8 = 1, 1 << 11  # flags
_DEFLATE_LIMIT = 1100  # times as large is what deflate can make of a byte, and a little

TABLES_LIMIT = 1 << 28
"""Bytes of all tables of an archive together; further ones are passed over."""

_HEADERS_LIMIT = 1 << 20  # bytes of a tar between the contents of two members: long names and attributes
_CHUNK = 1 << 20


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

    def damaged(self, kind: str, error: Exception) -> InputError:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return InputError(f"{self.path}: damaged {kind} archive ({printable(why)}); copy or download it again")

    def check_member(self, name: str) -> None:
        """Refuses names that lead out of the folder into which the archive would be unpacked, or that no file has."""
        plain = name.replace("\\", "/")
        parts = plain.split("/")
        if not plain.strip("/"):
            raise self.refuse("a member has no name")
        if len(name) > NAME_LIMIT or len(parts) > DEPTH_LIMIT:
            raise self.refuse(
                f"the name '{printable(name[:40])}...' has {len(name):,} characters in {len(parts):,} folders"
            )
        if plain.startswith("/") or plain[1:2] == ":" or ".." in parts:
            raise self.refuse(f"the member '{printable(name)}' climbs out of its folder")

    def remarks(self) -> list[str]:
        """See `Container.remarks`: what else an archive holds does not matter."""
        return []

    def check_count(self, members: int) -> None:
        if members > MEMBERS_LIMIT:
            raise self.refuse(f"it has more than {MEMBERS_LIMIT:,} members")

    def check_total(self, unpacked: int) -> None:
        if unpacked > max(RATIO_LIMIT * self.size, RATIO_FLOOR):
            raise self.refuse(f"it unpacks to more than {RATIO_LIMIT} times its size")


def _too_large(size: int) -> MemberError:
    return MemberError(f"too large ({size:,} bytes, more than the {max_bytes():,} of {MAX_BYTES})")


class Zip(_Archive):
    """A zip archive. Members that are encrypted, or packed otherwise than stored or deflated, cannot be unpacked."""

    slow_to_list = False

    def files(self) -> Iterator[tuple[str, Opener]]:
        """See `Container.files`."""
        with self._open() as archive:
            used: set[str] = set()

            def content(path: str, member: zipfile.ZipInfo) -> bytes:
                used.add(path)
                return self._content(archive, member)

            for path, member in self._members(archive).items():
                yield path, lambda path=path, member=member: content(path, member)
                if path not in used:
                    self._check_unused(archive, member)
                used.clear()

    def reader(self) -> Callable[[str], bytes]:
        """See `Container.reader`. The archive stays open as long as the function lives."""
        archive, one_at_a_time = self._open(), threading.Lock()  # ZipFile counts its readers without one
        members = self._members(archive)

        def read(path: str) -> bytes:
            with one_at_a_time:
                return self._content(archive, members[path])

        return read

    def tables(self) -> dict[str, bytes]:
        """See `Container.tables`."""
        found: dict[str, bytes] = {}
        with self._open() as archive:
            for path, member in self._members(archive, is_table).items():
                with contextlib.suppress(UnpackError):  # it was only guessed to be one
                    if member.file_size <= TABLES_LIMIT - sum(map(len, found.values())):
                        found[path] = self._content(archive, member)
        return found

    def sizes(self) -> dict[str, int]:
        """See `Container.sizes`."""
        with self._open() as archive:
            return {path: member.file_size for path, member in self._members(archive).items()}

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except MemoryError as error:
            raise self.refuse("listing it takes more memory than there is") from error
        except Exception as error:  # a damaged directory can make the parser raise nearly anything
            raise self.damaged("zip", error) from error

    def _members(
        self, archive: zipfile.ZipFile, wanted: Callable[[str], bool] = is_candidate
    ) -> dict[str, zipfile.ZipInfo]:
        listed = archive.infolist()
        self.check_count(len(listed))
        for member in listed:
            self.check_member(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise self.refuse(f"the member '{printable(member.filename)}' is a link")
        self.check_total(sum(member.file_size for member in listed))
        self._check_places(listed, archive.start_dir)
        members: dict[str, zipfile.ZipInfo] = {}
        for member in listed:
            path = posixpath.normpath(member.filename.replace("\\", "/"))  # as some programs of Windows write them
            if member.is_dir() and not member.file_size:
                continue
            if path not in members and not member.is_dir() and wanted(path):
                members[path] = member
            else:
                self._check_unused(archive, member)
        return members

    def _check_places(self, listed: list[zipfile.ZipInfo], end: int) -> None:
        """No byte may serve two members, which is how small archives unpack to anything; sizes must be possible."""
        placed = sorted(listed, key=lambda member: member.header_offset)
        ends = [member.header_offset for member in placed[1:]] + [end]
        for member, after in zip(placed, ends, strict=False):
            packed, size = member.compress_size, member.file_size
            if member.header_offset + _LOCAL_HEADER.size + packed > after:
                raise self.refuse(f"the member '{printable(member.filename)}' overlaps with the next")
            stored, deflated = (member.compress_type == kind for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            whole = stored and not member.flag_bits & _ENCRYPTED
            if (whole and size != packed) or (deflated and size > _DEFLATE_LIMIT * packed):
                why = f"'{member.filename}' cannot have {size:,} bytes in {packed:,}"
                raise self.damaged("zip", zipfile.BadZipFile(why))

    def _check_unused(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        """A picture whose name is damaged in the directory would be passed over: its other name tells."""
        try:
            self._check_header(archive, member)
        except zipfile.BadZipFile as error:
            raise self.damaged("zip", error) from error

    def _check_header(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        """What stands before a member says the same as the directory: its name, and how name and content are coded."""
        assert archive.fp is not None
        try:
            archive.fp.seek(member.header_offset)
        except (OSError, ValueError) as error:  # before the beginning, or beyond what a disk can hold
            raise zipfile.BadZipFile(f"there is no {member.filename!r} where it should be") from error
        header = archive.fp.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"there is no {member.filename!r} where it should be")
        _, _, flags, method, *_, length, _ = _LOCAL_HEADER.unpack(header)
        name = archive.fp.read(length).decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        if name != member.orig_filename or (flags ^ member.flag_bits) & _ENCRYPTED or method != member.compress_type:
            raise zipfile.BadZipFile(f"its directory and the header of {member.filename!r} disagree")

    def _content(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
        if member.file_size > max_bytes():
            raise _too_large(member.file_size)
        try:
            self._check_header(archive, member)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                method = {12: "bzip2", 14: "LZMA", 93: "Zstandard"}.get(member.compress_type, "an unusual method")
                raise NotImplementedError(f"packed by {method}; pack it again with deflate, as zip does by itself")
            with archive.open(member) as file:
                content = file.read(member.file_size + 1)  # in one piece without a size, it could be any size
            if len(content) != member.file_size:
                raise EOFError(f"cut off after {len(content):,} of {member.file_size:,} bytes")
        except MemoryError as error:
            raise self.refuse("unpacking it takes more memory than there is") from error
        except Exception as error:  # as in `_open`
            why = printable(" ".join(str(error).split())[:200]) or type(error).__name__
            raise UnpackError(f"cannot be unpacked ({why})") from error
        return content


class Tar(_Archive):
    """A tar archive, plain or compressed by gzip, bzip2 or xz, read from start to end."""

    slow_to_list = True

    def __init__(self, path: Path):
        super().__init__(path)
        self._tables: dict[str, bytes] | None = None

    def files(self) -> Iterator[tuple[str, Opener]]:
        """See `Container.files`."""
        seen: set[str] = set()
        tables: dict[str, bytes] = {}
        for path, content in self.members():
            if path in seen:
                continue
            seen.add(path)
            if is_candidate(path):
                yield path, content
            elif is_table(path):
                with contextlib.suppress(MemberError):  # too large: it was only guessed to be one
                    tables[path] = content()
                if sum(map(len, tables.values())) > TABLES_LIMIT:
                    del tables[path]
        self._tables = tables

    def tables(self) -> dict[str, bytes]:
        """See `Container.tables`. Reads the archive, unless `files` has been read to its end."""
        if self._tables is None:
            for _ in self.files():
                pass
        return self._tables or {}

    def reader(self) -> Callable[[str], bytes]:
        """See `Container.reader`."""
        raise InputError(f"{self.path}: a tar has no index to find a file by; unpack it, or pack it as a zip")

    def sizes(self) -> dict[str, int]:
        """See `Container.sizes`."""
        raise InputError(f"{self.path}: a tar has no index to find a file by; unpack it, or pack it as a zip")

    def members(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """(path, a function that gives the content, to be called before the next item) of every plain file.

        Damage may be found at the very end only, where the checksums are: what came before is worth nothing then.
        """
        return ((member.path, member.content) for member in self.placed())

    def placed(self) -> Iterator[Placed]:
        """`members`, and where in the unpacked archive the content of each lies."""
        with self._damage(), files.open_plain(self.path) as raw:
            unpack = unpacker(raw.read(6))
            raw.seek(0)
            stream = Counted(unpack(raw) if unpack else raw, self.check_total)
            with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|", tarinfo=_Header) as archive:
                yield from self._members(archive, stream)
                self._read_to_the_end(archive)

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """Names the archive in any error of reading it."""
        try:
            yield
        except InputError:
            raise
        except MemoryError as error:
            raise self.refuse("unpacking it takes more memory than there is") from error
        except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RecursionError) as error:
            raise self.damaged("tar", error) from error
        except (IndexError, KeyError, OverflowError) as error:  # from the parser of extended headers
            raise self.damaged("tar", error) from error

    def _members(self, archive: tarfile.TarFile, stream: Counted) -> Iterator[Placed]:
        total = count = 0
        while (member := self._next(archive, stream)) is not None:
            count, total = count + 1, total + max(0, member.size)
            self.check_count(count)
            self.check_member(member.name)
            if member.issym() or member.islnk():
                raise self.refuse(f"the member '{printable(member.name)}' is a link")
            if not (member.isfile() or member.isdir()) or member.sparse is not None or member.size < 0:
                raise self.refuse(f"the member '{printable(member.name)}' is no plain file")
            self.check_total(total)
            if member.isfile():
                file = archive.extractfile(member)
                assert file is not None
                path, place = posixpath.normpath(member.name), member.offset_data
                yield Placed(path, place, member.size, lambda file=file, size=member.size: self._content(file, size))
                while file.read(_CHUNK):
                    pass

    def _next(self, archive: tarfile.TarFile, stream: Counted) -> tarfile.TarInfo | None:
        stream.allowed = _HEADERS_LIMIT
        member = archive.next()
        stream.allowed = None
        vars(archive)["members"] = []  # tarfile remembers all of them
        return member

    def _content(self, file: IO[bytes], size: int) -> bytes:
        if size > max_bytes():
            raise _too_large(size)
        with self._damage():
            return file.read()

    def _read_to_the_end(self, archive: tarfile.TarFile) -> None:
        assert archive.fileobj is not None
        while chunk := archive.fileobj.read(_CHUNK):
            if chunk.count(0) != len(chunk):
                raise tarfile.ReadError("something follows its end mark")


class _Header(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> "tarfile.TarInfo":
        """As in the library, which takes a damaged or missing header for the end of the archive."""
        try:
            return super().fromtarfile(tarfile)
        except _BAD_HEADERS as error:
            raise _ReadError(f"a header is damaged or missing: {error}") from error


_BAD_HEADERS = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]
_ReadError = tarfile.ReadError  # inside `_Header` the library's name is that of an argument
