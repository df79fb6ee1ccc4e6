"""Durable, atomic writes and a folder lock.

A file is either the old one or the new one, never half of it: the bytes go to a temporary file in the same
folder, which is synced, renamed over the target, and the folder is synced. Failures that a user can mend
(no space, no permission) become an `InputError` that names the file and says what to do.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convlens.base.errors import InputError

_CHUNK = 1 << 24

_MENDABLE = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EFBIG: "the file would be larger than the limit of this process or file system (ulimit -f)",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "operation not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextlib.contextmanager
def explained(action: str, path: Path | str) -> Iterator[None]:
    """Turns an operating-system error inside the block into an `InputError` where the user can mend it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        raise InputError(f"cannot {action} {path}: {_MENDABLE[error.errno]}") from error


def make_folder(path: Path) -> Path:
    """Makes a folder and its parents. Raises `InputError` where that is not allowed."""
    with explained("create the folder", path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"cannot create the folder {path}: a file of that name exists") from None
    return path


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
    """Replaces `path` by `data`, atomically and durably. On failure the old file stays and no debris is left."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained("write", path):
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
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


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` for JSON, indented, keys in the order given. NaN and infinity are refused (not JSON)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def remove_debris(folder: Path) -> None:
    """Removes temporary files that a killed process left in `folder`. Call only while holding its lock."""
    for temporary in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
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
        with explained("lock", self.path.parent):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            os.close(handle)
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise
            raise InputError(
                f"the run folder {self.path.parent} is in use: {self.purpose}; wait for it or choose another --out"
            ) from None
        self._handle = handle
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)  # closing releases the lock; the file stays, removing it would race
            self._handle = None


if os.name == "nt":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
