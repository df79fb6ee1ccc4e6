"""The user's cache: downloads, listings of archives, and decoded pictures. Losing it costs nothing but time."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convlens.base import files
from convlens.base.arrays import pack, unpack
from convlens.base.errors import InputError

LIMIT = 8 << 30
"""Decoded pictures are kept up to this many bytes in all; the longest unused go first."""

LARGE = 1 << 30
"""Arrays from this size on are memory maps of the cache instead of memory."""

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
    """What `save_json` kept, or None."""
    try:
        return json.loads((cache_folder() / kind / f"{key}.json").read_text())
    except (OSError, ValueError):
        return None


def save_json(kind: str, key: str, value: Any) -> None:
    """Keeps a value. Failing to is no error."""
    with contextlib.suppress(OSError, InputError):
        folder = cache_folder() / kind
        files.make_folder(folder)
        files.write_text(folder / f"{key}.json", json.dumps(value))


def load_arrays(kind: str, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """What `save_arrays` kept, or None."""
    try:
        return unpack(cache_folder() / kind / f"{key}.safetensors")
    except InputError:
        return None


def save_arrays(kind: str, key: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Keeps arrays and JSON values. Failing to is no error."""
    with contextlib.suppress(OSError, InputError):
        folder = cache_folder() / kind
        files.make_folder(folder)
        files.write_bytes(folder / f"{key}.safetensors", pack(arrays, meta))


class Decoded:
    """An entry for decoded pictures: uint8 arrays by name, and a JSON value. Complete or absent.

    Written as `empty` for each array, then `keep`; `discard` afterwards, whatever happened.
    """

    def __init__(self, key: str):
        self.folder = cache_folder() / "decoded" / key
        self.draft = self.folder.with_name(f"{key}.{os.getpid()}.tmp")

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """(arrays, value), or None if there is no such entry. Large arrays are read-only memory maps."""
        try:
            meta = json.loads((self.folder / "meta.json").read_text())
            arrays = {name: self._open(name, tuple(shape)) for name, shape in meta["shapes"].items()}
            os.utime(self.folder)
            return arrays, meta["value"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _open(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / f"{name}.u8"
        if path.stat().st_size != np.prod(shape, dtype=object):
            raise ValueError("another size")
        if path.stat().st_size >= LARGE:
            return np.memmap(path, np.uint8, "r", shape=shape)
        return np.fromfile(path, np.uint8).reshape(shape)

    def empty(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Room for an array: memory, or from `LARGE` on a file of the entry. A full disk is an `InputError`."""
        size = int(np.prod(shape, dtype=object))
        if size < LARGE:
            return np.empty(shape, np.uint8)
        files.make_folder(self.draft)
        path = self.draft / f"{name}.u8"
        with files.explained("make room for the decoded pictures in", path), path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # a hole that cannot be filled later would end the process
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        return np.memmap(path, np.uint8, "r+", shape=shape)

    def keep(self, arrays: Mapping[str, np.ndarray], value: Any) -> dict[str, np.ndarray]:
        """Writes the entry and returns its arrays; if it cannot be written, the arrays given."""
        try:
            files.make_folder(self.draft)
            for name, array in arrays.items():
                if isinstance(array, np.memmap):
                    array.flush()
                    os.truncate(self.draft / f"{name}.u8", array.nbytes)
                else:
                    files.write_bytes(self.draft / f"{name}.u8", np.ascontiguousarray(array).reshape(-1).data)
            shapes = {name: array.shape for name, array in arrays.items()}
            files.write_json(self.draft / "meta.json", {"shapes": shapes, "value": value})
            if self.folder.exists():
                shutil.rmtree(self.folder, ignore_errors=True)
            os.rename(self.draft, self.folder)
        except (OSError, InputError):
            return dict(arrays)
        self._prune()
        loaded = self.load() if any(isinstance(array, np.memmap) for array in arrays.values()) else None
        return loaded[0] if loaded else dict(arrays)

    def discard(self) -> None:
        """Removes what an unfinished entry left."""
        shutil.rmtree(self.draft, ignore_errors=True)

    def _prune(self) -> None:
        with contextlib.suppress(OSError):
            entries = sorted(self.folder.parent.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
            total = 0
            for entry in entries:
                total += sum(path.stat().st_size for path in entry.iterdir())
                if total > LIMIT and entry != self.folder:
                    shutil.rmtree(entry, ignore_errors=True)
