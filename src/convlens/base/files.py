"""Durable, atomic writes, reads that cannot hang, and a folder lock.

A file is either the old one or the new one, never half of it: the bytes go to a temporary file in the same
folder, which is synced, renamed over the target, and the folder is synced. Failures that a user can mend
(no space, no permission) become an `InputError` that names the file and says what to do.

A folder may come from a stranger: temporary files get random names that did not exist before, a link
is replaced by the file and not followed when something is written, and only plain files are read, up to a limit.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlens.base.errors import InputError, InUseError

_CHUNK = 1 << 24

_MENDABLE = {
    errno.ENOSPC: "the disk is full (of bytes or of files); free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the file would be larger than the limit of this process or file system (ulimit -f)",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "operation not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EISDIR: "it is a folder; choose another path",
    errno.ENOENT: "there is no such file or folder",
    errno.ELOOP: "it is a link, or links lead in a circle; remove it",
    errno.ENXIO: "it is no plain file",
    errno.EMFILE: "too many files are open in this process (ulimit -n)",
    errno.ENOLCK: "the file system has no locks; choose another folder",
    errno.EOPNOTSUPP: "the file system cannot do this; choose another folder",
}

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # a pipe without a writer would be waited for
_BINARY = getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def explained(action: str, path: Path | str) -> Iterator[None]:
    """Turns an operating-system error inside the block into an `InputError` where the user can mend it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        raise InputError(f"cannot {action} {path}: {_MENDABLE[error.errno]}") from error


# ---- reading


def open_plain(path: Path | str) -> io.BufferedReader:
    """A plain file, opened for reading. Never waits: pipes, devices and folders are refused.

    Raises:
        InputError: no such file, no permission, or not a plain file.
    """
    try:
        with explained("read", path):
            if not stat.S_ISREG(os.stat(path).st_mode):  # looked at first: opening a device may already do something
                raise InputError(f"cannot read {path}: it is {_kind(os.stat(path).st_mode)}, not a plain file")
            handle = os.open(path, os.O_RDONLY | _AT_ONCE | _BINARY)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                raise InputError(f"cannot read {path}: it is not a plain file")
            return os.fdopen(handle, "rb")
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"there is no file {path}") from None
        raise
    except (ValueError, OSError) as error:  # ValueError: a name that no file can have, such as one with a NUL
        raise InputError(f"cannot read {path!r}: {error}") from None


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def read_bytes(path: Path | str, limit: int) -> bytes:
    """The content of a plain file of at most `limit` bytes. Raises `InputError` for any other, see `open_plain`."""
    with open_plain(path) as file, explained("read", path):
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"cannot read {path}: it is larger than {limit:,} bytes, more than such a file has")
    return content


def read_piece(path: Path | str, offset: int, size: int) -> bytes:
    """`size` bytes of a plain file from `offset` on; fewer where it ends before."""
    with open_plain(path) as file, explained("read", path):
        file.seek(offset)
        return file.read(size)


def read_text(path: Path | str, limit: int) -> str:
    """`read_bytes` of UTF-8 text, with or without a byte order mark."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start:,}); save it as UTF-8") from None


def sha256(path: Path | str) -> str:
    """The SHA-256 of a plain file, in hexadecimal digits."""
    with open_plain(path) as file, explained("read", path):
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- writing


def make_folder(path: Path) -> Path:
    """Makes a folder and its parents. Raises `InputError` where that is not allowed."""
    with explained("create the folder", path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"cannot create the folder {path}: a file of that name exists") from None
    return path


def make_inner_folder(path: Path) -> Path:
    """`make_folder` for a folder inside a run folder. A link there, which could lead anywhere, is an `InputError`."""
    if path.is_symlink():
        raise InputError(f"{path} is a link, and what is written there would land elsewhere: remove it")
    return make_folder(path)


def sync_folder(folder: Path) -> None:
    """Makes a rename or a new name in `folder` survive a power cut (a no-op where folders cannot be synced)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view[:_CHUNK]) :]


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replaces `path` by `data`, atomically and durably. On failure the old file stays and nothing else is left."""
    temporary = _temporary(path)
    with explained("write", path):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY, 0o666)
        try:
            try:
                _write_all(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder of its own beside `path`, for what others write.

    After the block the file there is synced and replaces `path`. After an error `path` is what it was, and nothing
    else is left.
    """
    folder = _temporary(path)
    with explained("write", path):
        os.mkdir(folder)
        try:
            yield folder / path.name
            with open(folder / path.name, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(folder / path.name, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` for JSON, indented, keys in the order given. NaN and infinity are refused (not JSON)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def remove_temporaries(folder: Path) -> None:
    """Removes temporary files that a killed process left in `folder`. Call only while holding its lock."""
    for temporary in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if temporary.is_dir() and not temporary.is_symlink():
                shutil.rmtree(temporary)
            else:
                temporary.unlink()


class FolderLock:
    """Lets one process at a time work in a folder. The system releases it when the process ends, however it ends.

    >>> with FolderLock(Path("runs/a")):  # doctest: +SKIP
    ...     train()
    """

    def __init__(self, folder: Path, purpose: str = "another process is training in it"):
        self.path = folder / ".lock"
        self.purpose = purpose
        self._handle: int | None = None

    def __enter__(self) -> "FolderLock":
        """Raises `InUseError` where another process holds the lock, any other `InputError` where there can be none."""
        with explained("lock", self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | _NO_LINK | _AT_ONCE, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise InputError(f"{self.path} is not a plain file: remove it")
                _lock(handle)
                if not os.path.samestat(os.fstat(handle), os.lstat(self.path)):
                    raise BlockingIOError(errno.EAGAIN, "removed by its holder, and made again by another")
            except BaseException as error:
                os.close(handle)
                if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                    raise InUseError(
                        f"the run folder {self.path.parent} is in use: {self.purpose}; "
                        "wait for it or choose another --out"
                    ) from None
                raise
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)  # closing releases the lock; the file stays
            self._handle = None


if os.name == "nt":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
