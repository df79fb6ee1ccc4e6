"""Downloads: several mirrors, resumed where they broke off, checked against a hash, put in place atomically.

Only the standard library. A file under its final name is always complete and checked; what has come so far lies
beside it under a name that ends in .part.
"""

import contextlib
import gzip
import hashlib
import http.client
import io
import os
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from convlens.base import files
from convlens.base.errors import InputError, InUseError

Progress = Callable[[str, int, int], None]
"""Called now and then with (file name, bytes so far, bytes in all or 0 if not known)."""

_CHUNK = 1 << 18
_TIMEOUT = 30.0
_SLOWEST = 500  # bytes per second
_TRIES = 4  # for one mirror, as long as each brings something new


@dataclass(frozen=True)
class Remote:
    """A file to download.

    name: what it is called on disk. size: about how large it is, in bytes; more than twice as much is refused.
    urls: mirrors, in the order in which they are tried.
    verify: raises ValueError, in a few words, if the file at a path is not what it should be.
    """

    name: str
    size: int
    urls: tuple[str, ...]
    verify: Callable[[Path], None]


def md5_of_file(expected: str) -> Callable[[Path], None]:
    """A check against the MD5 that a publisher gives for the file. It finds damage; it does not prove authorship."""
    return lambda path: _compare(path, "md5", expected, unpacked=False)


def sha256_of_content(expected: str) -> Callable[[Path], None]:
    """A check against the SHA-256 of the gzip-compressed content: mirrors compress differently."""
    return lambda path: _compare(path, "sha256", expected, unpacked=True)


def _compare(path: Path, algorithm: str, expected: str, *, unpacked: bool) -> None:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with gzip.open(path) if unpacked else path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError("not a whole gzip file") from None
    if digest.hexdigest() != expected:
        raise ValueError(f"wrong {algorithm} {digest.hexdigest()[:12]}..., expected {expected[:12]}...")


def fetch(remote: Remote, folder: Path, on_progress: Progress | None = None) -> Path:
    """The path of the file in `folder`, downloaded unless it is there.

    Each mirror is tried in turn: a broken transfer is resumed, a file with the wrong hash thrown away and, had it
    been resumed from an earlier attempt, fetched once more as a whole. $CONVLENS_MIRROR, the URL of a folder that
    holds such files, comes first.

    Raises `InputError`, in one line, if no mirror delivers; what has come stays for the next attempt.
    """
    target = folder / remote.name
    if target.exists():
        return target
    files.make_folder(folder)
    with _alone(folder, lambda: on_progress and on_progress(f"{remote.name} (another process is at it)", 0, 0)):
        if target.exists():  # another process has just fetched it
            return target
        failures = []
        for url in _mirrors(remote):
            part = folder / f".{remote.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
            try:
                with files.explained("write", part):
                    _from_mirror(url, part, remote, on_progress)
                    os.replace(part, target)
                    files.sync_folder(folder)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                failures.append(f"{urlsplit(url).netloc or url}: {_reason(error)}")
                continue
            for leftover in folder.glob(f".{remote.name}.*.part"):
                leftover.unlink(missing_ok=True)
            return target
    raise InputError(
        f"cannot download {remote.name} ({'; '.join(failures)}); connect to the internet and try again, or put the "
        f"file into {folder} or a folder named by CONVLENS_DATA"
    )


def _mirrors(remote: Remote) -> list[str]:
    own = os.environ.get("CONVLENS_MIRROR")
    urls = ([f"{own.rstrip('/')}/{remote.name}"] if own else []) + list(remote.urls)
    return [url for url in urls if urlsplit(url).scheme in ("http", "https")]


def _from_mirror(url: str, part: Path, remote: Remote, on_progress: Progress | None) -> None:
    """Fills and checks `part`. Raises OSError, HTTPException or ValueError if this mirror does not deliver."""
    _own_file(part)
    resumed = part.exists()
    for attempt in range(_TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            _transfer(url, part, remote, on_progress)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException):
            after = part.stat().st_size if part.exists() else 0
            if after == before or attempt == _TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
            continue
        try:
            return remote.verify(part)
        except ValueError:
            part.unlink()
            if not resumed:
                raise
            resumed = False
    raise ValueError("the transfer broke off again and again")


def _transfer(url: str, part: Path, remote: Remote, on_progress: Progress | None) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "convlens", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        opener = urllib.request.build_opener()  # the shared one would keep the proxies of its first use for ever
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing beyond what is here: whole, or of another file
            return
        raise
    with response:
        if start and not (
            response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        ):
            start = 0  # the server sends all of it again
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else 0
        if max(total, start) > 2 * remote.size + _CHUNK:
            raise ValueError(f"{total:,} bytes, far more than the {remote.size:,} expected")
        done = start
        with _opened(part, start) as file:
            for chunk in _chunks(response):
                _write(file, chunk, part)
                done += len(chunk)
                if done > 2 * remote.size + _CHUNK:
                    raise ValueError(f"more than twice the {remote.size:,} bytes expected")
                if on_progress:
                    on_progress(remote.name, done, total)
            with files.explained("write", part):
                os.fsync(file.fileno())
        if total and done < total:
            raise ConnectionError(f"broke off after {done:,} of {total:,} bytes")


def _opened(part: Path, start: int) -> io.FileIO:
    """The file to go on with at `start`. Not buffered: a full disk is met where something is written."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    with files.explained("write", part):
        file = io.FileIO(os.open(part, flags, 0o666), "wb")
        file.truncate(start)
        file.seek(start)
    return file


def _write(file: io.FileIO, chunk: bytes, part: Path) -> None:
    left = memoryview(chunk)
    with files.explained("write", part):
        while left:
            left = left[file.write(left) :]


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes, as it comes. Raises TimeoutError where hardly anything does."""
    since, got = time.monotonic(), 0
    while chunk := response.read1(_CHUNK):
        yield chunk
        got += len(chunk)
        if time.monotonic() - since > _TIMEOUT:
            if got < _SLOWEST * _TIMEOUT:
                raise TimeoutError(f"only {got:,} bytes in {_TIMEOUT:.0f} s")
            since, got = time.monotonic(), 0


def _own_file(part: Path) -> None:
    """Removes what is no file of ours: a link would lead elsewhere, a pipe would be waited for."""
    if part.is_symlink() or (part.exists() and not part.is_file()):
        with files.explained("remove", part):
            part.unlink()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


@contextlib.contextmanager
def _alone(folder: Path, tell: Callable[[], object]) -> Iterator[None]:
    """One process at a time downloads into a folder; another waits for it, and tells so."""
    lock = files.FolderLock(folder, "another process is downloading into it")
    told = False
    while True:
        try:
            lock.__enter__()
            break
        except InUseError:
            if not told:
                tell()
            told = True
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.__exit__()
