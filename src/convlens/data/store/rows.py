"""Pixels that are not in memory: rows uint8 [N, H, W, C] that are read when they are asked for."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

_CHUNK = 1 << 20  # bytes looked at together, so that a memory map is never copied as a whole


class Rows(ABC):
    """Indexed like an array. `shape` is (N, H, W, C)."""

    dtype, ndim = np.dtype(np.uint8), 4
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for chunk in _chunks(self):  # not one by one: files of a chunk are decoded side by side
            yield from chunk

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *inside = key if isinstance(key, tuple) else (key,)
        chosen = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.arange(len(self))[rows]
        out = np.empty((chosen.size, *self.shape[1:]), self.dtype)
        self.read(chosen.reshape(-1), out)
        return out.reshape(*chosen.shape, *self.shape[1:])[(slice(None), *inside) if chosen.ndim else (*inside,)]

    @abstractmethod
    def read(self, indices: np.ndarray, out: np.ndarray) -> None:
        """Fills `out` [n, H, W, C] with the rows at `indices` int64 [n]."""

    @abstractmethod
    def select(self, indices: Any) -> "Rows":
        """The rows at `indices` (integers, a mask or a slice), in that order; nothing is read."""

    def digests(self) -> Iterator[bytes] | None:
        """What the function `digests` gives, where it is known without reading."""
        return None

    def moments(self) -> tuple[int, list[int], list[int]] | None:
        """What the function `moments` gives, where it is known without reading."""
        return None


class MappedRows(Rows):
    """Some rows of a memory map.

    Indexing the map itself with a list of rows copies them into memory: the training part of a set that is larger than
    the memory would not fit.
    """

    def __init__(self, stored: np.ndarray, rows: np.ndarray):
        self.stored, self.rows = stored, rows
        self.shape = (len(rows), *stored.shape[1:])

    def read(self, indices: np.ndarray, out: np.ndarray) -> None:
        """See `Rows.read`."""
        # "clip" because numpy.take otherwise fills a copy of `out` first; the indices are in range
        np.take(self.stored, self.rows[indices], axis=0, out=out, mode="clip")

    def select(self, indices: Any) -> "MappedRows":
        """See `Rows.select`."""
        return MappedRows(self.stored, self.rows[indices])


Pixels = np.ndarray | Rows


def is_mapped(pixels: np.ndarray) -> bool:
    """Whether the values of an array lie in a file rather than in memory."""
    base: object = pixels
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def digest(picture: np.ndarray) -> bytes:
    """SHA-256 of one picture's values, uint8 [H, W, C]: 32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(picture).reshape(-1).data).digest()


def digests(pixels: Pixels) -> Iterator[bytes]:
    """`digest` of each of uint8 [N, H, W, C]."""
    known = pixels.digests() if isinstance(pixels, Rows) else None
    return _digests(pixels) if known is None else known


def _digests(pixels: Pixels) -> Iterator[bytes]:
    size = math.prod(pixels.shape[1:])
    for chunk in _chunks(pixels):
        values = np.ascontiguousarray(chunk).reshape(-1).data
        yield from (hashlib.sha256(values[start : start + size]).digest() for start in range(0, len(values), size))


def moments(pixels: Pixels) -> tuple[int, list[int], list[int]]:
    """Per channel of uint8 [N, H, W, C]: how many values there are, their sum, the sum of their squares. Exact."""
    known = pixels.moments() if isinstance(pixels, Rows) else None
    if known is not None:
        return known
    channels = pixels.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    for chunk in _chunks(pixels):
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    values = range(256)
    totals = [sum(value * count for value, count in zip(values, row, strict=True)) for row in counts.tolist()]
    squares = [sum(value * value * count for value, count in zip(values, row, strict=True)) for row in counts.tolist()]
    return math.prod(pixels.shape[:3]), totals, squares


def _chunks(pixels: Pixels) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // max(1, math.prod(pixels.shape[1:])))
    return (pixels[start : start + step] for start in range(0, len(pixels), step))
