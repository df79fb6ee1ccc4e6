"""Labeled pictures: pixels, labels, and the names of the classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.data.labels import number, on_cpu, read
from convlens.data.store.rows import MappedRows, Pixels, Rows, digests, is_mapped


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures of one size with their labels.

    pixels: uint8 [N, H, W, C], C is 1 (gray) or 3 (RGB); an array, a read-only memory map, or `Rows` that are read
        when they are asked for.
    labels: int64 [N], each in 0 .. len(classes) - 1.
    classes: the name of each label.
    name: what the set is called in messages and reports.
    paths: object [N] of str, the names of the pictures inside the set, where they have some.

    Raises `InputError` where these do not fit together. `from_arrays` is the lenient way in.
    """

    pixels: Pixels
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = "images"
    paths: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(str(c) for c in self.classes))
        pixels, labels = self.pixels, self.labels
        if not isinstance(pixels, Pixels) or pixels.dtype != np.uint8:
            raise InputError(
                f"{self.name}: pixels must be a uint8 array, not {_kind(pixels)}; use Images.from_arrays to convert"
            )
        if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
            raise InputError(
                f"{self.name}: pixels must have the shape [N, H, W, C] with C = 1 or 3, not {list(pixels.shape)}"
            )
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError(f"{self.name}: labels must be an integer array of shape [N], not {_kind(labels)}")
        if len(labels) != len(pixels):
            raise InputError(f"{self.name}: {len(pixels)} images but {len(labels)} labels; give one label an image")
        if self.paths is not None and len(self.paths) != len(labels):
            raise InputError(f"{self.name}: {len(labels)} images but {len(self.paths)} paths; give one path an image")
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"{self.name}: two classes have the same name; give each its own")
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.classes)):
            raise InputError(
                f"{self.name}: labels run from {labels.min()} to {labels.max()}, "
                f"but {len(self.classes)} classes allow 0 to {len(self.classes) - 1}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    @classmethod
    def from_arrays(
        cls, pixels: Any, labels: Any, classes: Sequence[str] | None = None, name: str = "images"
    ) -> "Images":
        """Images from whatever holds them: arrays, nested lists, CPU tensors.

        pixels: [N, H, W] or [N, H, W, C], C = 1 or 3; see `as_uint8` for the types.
        labels: [N] integers or strings, or one-hot [N, K]; see `labels.read` for all that is taken.
        classes: the names, by position; without them see `labels.number`.

        Raises `InputError` where shapes, types or values do not fit.
        """
        values, names, _ = number(read(labels, name), classes, name)
        return cls(stacked(pixels, name), values, names, name)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, height, width, channels = self.pixels.shape
        return channels, height, width

    def select(self, indices: Any) -> "Images":
        """The images at `indices` (integers, a mask or a slice), in that order. What is not in memory is not read."""
        pixels = self.pixels
        if isinstance(pixels, Rows):
            chosen = pixels.select(indices)
        elif is_mapped(pixels) and not isinstance(indices, slice):
            chosen = MappedRows(pixels, np.arange(len(pixels))[indices])
        else:
            chosen = pixels[indices]
        paths = None if self.paths is None else self.paths[indices]
        return Images(chosen, self.labels[indices], self.classes, self.name, paths)

    def counts(self) -> np.ndarray:
        """int64 [K]: how many images each class has."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def fingerprint(self) -> str:
        """32 hexadecimal digits (BLAKE2b) over shape, pixels, labels and class names. Names and paths are left out."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.pixels.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").tobytes())
        digest.update(self._digests)
        return digest.hexdigest()

    def fingerprints(self) -> np.ndarray:
        """uint64 [N], of each picture's pixels: 8 bytes of their SHA-256."""
        return np.frombuffer(self._digests, "<u8")[:: 32 // 8].astype(np.uint64)

    @cached_property
    def _digests(self) -> bytes:
        """32 bytes of each picture, one after the other. Kept: two files of a run folder need them."""
        return b"".join(digests(self.pixels))


def stacked(pixels: Any, name: str = "images") -> np.ndarray:
    """Pictures of one size as uint8 [N, H, W, C], from [N, H, W] or [N, H, W, C]. Raises `InputError` for others."""
    pixels = as_uint8(pixels, name)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim == 4 and pixels.shape[3] not in (1, 3) and pixels.shape[1] in (1, 3):
        raise InputError(
            f"{name}: pixels have the shape {list(pixels.shape)}, which looks like [N, C, H, W]; "
            "put the channels last, as in pixels.transpose(0, 2, 3, 1)"
        )
    return pixels


def as_uint8(pixels: Any, name: str = "image") -> np.ndarray:
    """Pixels of any array-like as uint8.

    uint8 is taken as it is; bool becomes 0 and 255; other integers must lie in 0..255; floating-point
    numbers must lie in 0..1 and become round(255 x). Anything else is an `InputError`: a guess about the
    scale would train on the wrong pictures without a word.
    """
    if type(pixels) is np.ndarray and pixels.dtype == np.uint8:
        return pixels
    try:
        pixels = np.asarray(on_cpu(pixels))
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists
        raise InputError(f"{name}: cannot be read as an array of pixels ({error})") from error
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "iuf":
        raise InputError(f"{name}: pixels must be numbers, not {_kind(pixels)}")
    if pixels.size == 0:
        return pixels.astype(np.uint8)
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise InputError(
                f"{name}: floating-point pixels must lie in 0..1, these run from {low:g} to {high:g}; "
                "scale them, or pass uint8 in 0..255"
            )
        return np.round(pixels * 255).astype(np.uint8)
    if low < 0 or high > 255:
        raise InputError(f"{name}: integer pixels must lie in 0..255, these run from {low} to {high}; scale them")
    return pixels.astype(np.uint8)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {list(value.shape)}"
    return type(value).__name__
