"""The user's cache: downloads, listings of archives, and decoded pictures. Losing it costs nothing but time."""

import contextlib
import json
import os
import secrets
import shutil
import sys
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convlens.base import files
from convlens.base.arrays import pack, unpack
from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores

LIMIT = 8 << 30
"""Decoded pictures are kept up to this many bytes in all; the longest unused go first."""

LARGE = 1 << 30
"""Arrays from this size on are memory maps of the cache instead of memory."""

FORMAT = 5
"""Of the entries: raise it whenever decoding or layout changes its result."""

WORTH_SECONDS = 1.0
"""Work that took less is done again rather than kept."""

RESERVE = 1 << 30
"""So many bytes of the cache's disk are left to others, such as the run's checkpoints."""


def cache_folder() -> Path:
    """The folder (which need not exist yet). $CONVLENS_CACHE, or convlens in the platform's cache folder."""
    if chosen := os.environ.get("CONVLENS_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "convlens" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "convlens"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convlens"


def load_json(kind: str, key: str) -> Any:
    """What `save_json` kept; None if there is nothing, or it is damaged."""
    try:
        kept = json.loads(files.read_text(cache_folder() / kind / f"{key}.json", _MOST_JSON))
        return kept["value"] if kept["checksum"] == _checksum_of(kept["value"]) else None
    except (InputError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def save_json(kind: str, key: str, value: Any) -> None:
    """Keeps a value. A failure to do so is ignored."""
    with contextlib.suppress(OSError, InputError):
        folder = cache_folder() / kind
        files.make_folder(folder)
        files.write_text(folder / f"{key}.json", json.dumps({"checksum": _checksum_of(value), "value": value}))


_MOST_JSON = 1 << 30  # bytes


def _checksum_of(value: Any) -> int:
    """CRC-32 of a JSON value."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def load_arrays(kind: str, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """What `save_arrays` kept, or None."""
    try:
        return unpack(cache_folder() / kind / f"{key}.safetensors", sealed=True)
    except InputError:
        return None


def save_arrays(kind: str, key: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Keeps arrays and JSON values. A failure to do so is ignored."""
    with contextlib.suppress(OSError, InputError):
        folder = cache_folder() / kind
        files.make_folder(folder)
        files.write_bytes(folder / f"{key}.safetensors", pack(arrays, meta))


class _Meta(BaseModel):
    """meta.json of an entry. checksums: of each array. own: that of all the rest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    shapes: dict[str, list[Annotated[int, Field(ge=0)]]]
    checksums: dict[str, int]
    value: Any
    own: int


class Entry:
    """An entry for decoded pictures: uint8 arrays by name, and a JSON value. Complete or absent.

    Written as `empty` for each array, then `keep`; `discard` afterwards, whatever happened. Each writer has a draft of
    its own: processes of two containers may share a cache and a process number, threads share both.
    """

    def __init__(self, key: str):
        self.folder = cache_folder() / "decoded" / key
        self.draft = self.folder.with_name(f"{key}.{secrets.token_hex(8)}{_DRAFT}")
        self.failure: str | None = None
        self._lock: files.FolderLock | None = None

    def load(self, *, compare: bool = True) -> tuple[dict[str, np.ndarray], Any] | None:
        """(arrays, value), or None if there is no such entry or it is damaged. Large arrays are read-only memory maps.

        compare: whether every byte is compared with the checksums, large arrays too. That reads them once, with 1.5 to
        2.4 GiB/s on two cores; whoever trains looks at each picture for its mean and fingerprint anyway, with 0.17.
        """
        try:
            with files.open_plain(self.folder / "meta.json") as file:
                meta = _Meta.model_validate_json(file.read(1 << 28))
            arrays = {name: self._open(name, tuple(shape)) for name, shape in meta.shapes.items()}
            if compare and any(_checksum(array) != meta.checksums.get(name) for name, array in arrays.items()):
                return None
            if meta.own != _checksum_of([meta.shapes, meta.checksums, meta.value]):
                return None
            os.utime(self.folder)
            return arrays, meta.value
        except (InputError, OSError, ValidationError, ValueError, OverflowError, RecursionError):
            return None

    def _open(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / f"{name}.u8"
        with files.open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != np.prod(shape, dtype=object):
                raise ValueError("another size")
            if size >= LARGE:
                return np.memmap(file, np.uint8, "r", shape=shape)
            return np.frombuffer(bytearray(file.read()), np.uint8).reshape(shape)

    def empty(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Room for an array: memory, or from `LARGE` on a file of the entry. A full disk is an `InputError`."""
        size = int(np.prod(shape, dtype=object))
        if size < LARGE:
            return np.empty(shape, np.uint8)
        self._begin()
        path = self.draft / f"{name}.u8"
        with files.explained("make room for the decoded pictures in", path), path.open("xb") as file:
            if hasattr(os, "posix_fallocate"):  # a hole that cannot be filled later would end the process
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        return np.memmap(path, np.uint8, "r+", shape=shape)

    def keep(self, arrays: Mapping[str, np.ndarray], value: Any) -> dict[str, np.ndarray]:
        """Writes the entry and returns its arrays; if it cannot be written, those given; `failure` says why."""
        try:
            self._begin()
            for name, array in arrays.items():
                if isinstance(array, np.memmap):
                    array.flush()
                    os.truncate(self.draft / f"{name}.u8", array.nbytes)
                else:
                    files.write_bytes(self.draft / f"{name}.u8", np.ascontiguousarray(array).reshape(-1).data)
            shapes = {name: array.shape for name, array in arrays.items()}
            checksums = {name: _checksum(array) for name, array in arrays.items()}
            own = _checksum_of([shapes, checksums, value])
            meta = {"shapes": shapes, "checksums": checksums, "value": value, "own": own}
            files.write_json(self.draft / "meta.json", meta)
            if self.folder.exists():
                shutil.rmtree(self.folder, ignore_errors=True)
            os.rename(self.draft, self.folder)
        except (OSError, InputError) as error:
            self.failure = str(error)
            return dict(arrays)
        self._prune()
        loaded = self.load(compare=False) if any(isinstance(array, np.memmap) for array in arrays.values()) else None
        return loaded[0] if loaded else dict(arrays)

    def discard(self) -> None:
        """Removes what an unfinished entry left."""
        shutil.rmtree(self.draft, ignore_errors=True)
        if self._lock is not None:
            self._lock.__exit__()
            self._lock = None

    def _begin(self) -> None:
        """Makes the draft, locked as long as this process lives, so that others know it is not abandoned."""
        if self._lock is None:
            files.make_folder(self.draft)
            lock = files.FolderLock(self.draft, "another process writes it")
            lock.__enter__()
            self._lock = lock

    def _prune(self) -> None:
        with contextlib.suppress(OSError):
            entries = sorted(self.folder.parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
            total = 0
            for entry in entries:
                if entry.name.endswith(_DRAFT):
                    _remove_if_abandoned(entry)
                    continue
                total += sum(path.stat().st_size for path in entry.iterdir())
                if total > LIMIT and entry != self.folder:
                    shutil.rmtree(entry, ignore_errors=True)


_DRAFT = ".tmp"
_YOUNG = 60  # seconds in which a draft may not have its lock yet


def _remove_if_abandoned(draft: Path) -> None:
    """Removes the draft of a writer that is no more."""
    if time.time() - draft.stat().st_mtime < _YOUNG:
        return
    with contextlib.suppress(InputError), files.FolderLock(draft):
        shutil.rmtree(draft, ignore_errors=True)


_BLOCK = 1 << 24  # bytes


def _checksum(array: np.ndarray) -> int:
    """CRC-32 of the CRC-32 of each block of an array: several blocks are read at a time, as zlib releases the GIL."""
    values = np.ascontiguousarray(array).reshape(-1)
    blocks = [values[start : start + _BLOCK].data for start in range(0, len(values), _BLOCK)]
    with ThreadPoolExecutor(min(usable_cores(), len(blocks) or 1), thread_name_prefix="checksum") as pool:
        sums = list(pool.map(zlib.crc32, blocks))
    return zlib.crc32(np.array(sums, "<u4").tobytes())
