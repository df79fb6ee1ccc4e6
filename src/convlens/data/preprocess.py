"""The one way from an image file to the network's input, shared by training, prediction and export. No PyTorch."""

import io
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from convlens.base.errors import InputError, nearest
from convlens.base.words import short
from convlens.data.decode import ImageLike, one_large_at_a_time, open_image, upright
from convlens.data.images import as_uint8
from convlens.data.naming import printable
from convlens.data.store.rows import Pixels, moments

INTERPOLATIONS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Kernels for resizing. All are antialiased: when an image shrinks, the kernel is widened accordingly."""

_FAR = 1e9
_LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input.

    size: (H, W) of the network's input, pixels.
    channels: 1 (gray, ITU-R 601 luma) or 3 (RGB).
    mean, std: per channel, of pixels / 255. By default 0 and 1.
    interpolation: a name in `INTERPOLATIONS`.

    Raises `InputError` where a value makes no sense.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        size = tuple(self.size) if isinstance(self.size, (tuple, list)) else ()
        if len(size) != 2 or not all(_is_int(side) and 1 <= side <= _LARGEST_SIDE for side in size):
            raise InputError(
                f"preprocess: size must be (height, width), 1 to {_LARGEST_SIDE} each, not {short(self.size)}"
            )
        if not _is_int(self.channels) or self.channels not in (1, 3):
            raise InputError(f"preprocess: channels must be 1 (gray) or 3 (RGB), not {short(self.channels)}")
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"preprocess: unknown interpolation {short(self.interpolation)}"
                f"{nearest(str(self.interpolation)[:80], INTERPOLATIONS)} (known: {', '.join(INTERPOLATIONS)})"
            )
        object.__setattr__(self, "size", tuple(int(side) for side in size))
        object.__setattr__(self, "channels", int(self.channels))
        for name, fallback in (("mean", 0.0), ("std", 1.0)):
            object.__setattr__(self, name, self._per_channel(name, fallback))

    def _per_channel(self, name: str, fallback: float) -> tuple[float, ...]:
        values = getattr(self, name)
        if isinstance(values, (tuple, list)) and not values:
            return (fallback,) * self.channels
        try:
            values = tuple(float(value) for value in values)
        except (TypeError, ValueError):
            raise InputError(f"preprocess: {name} must be {self.channels} numbers, not {short(values)}") from None
        if len(values) != self.channels or not all(math.isfinite(value) for value in values):
            raise InputError(f"preprocess: {name} must be {self.channels} finite numbers, not {short(list(values))}")
        if name == "std" and min(values) <= 0:
            raise InputError(f"preprocess: std must be positive, not {short(list(values))}")
        if max(map(abs, values)) > _FAR or (name == "std" and min(values) < 1 / _FAR):  # float32 has an end
            raise InputError(f"preprocess: {name} {short(list(values))} is no value of pixels between 0 and 1")
        return values

    def prepare(self, image: ImageLike, name: str | None = None) -> np.ndarray:
        """One picture as uint8 [H, W, C] of the network's input size.

        image: a Pillow image; the path, the bytes or the open file of one; or an array [H, W] or [H, W, C]
            with C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA (types: see `as_uint8`).
        name: what errors call it; the path by default.

        In this order: turned as its EXIF tag says; first frame; laid on white where transparent; converted to
        gray or RGB; scaled so that it just covers the input; center cropped. Both last steps are one
        resampling of the center of the picture, so an extreme aspect ratio costs no memory. A picture that
        has the right size and mode already is returned as it is. Raises `InputError` that names the picture.
        """
        if isinstance(image, Image.Image):
            return self._fit(upright(image, self.channels, name or "the image", self.size))
        if isinstance(image, (str, os.PathLike, bytes, io.IOBase)):
            if name is None:
                name = printable(os.fspath(image)) if isinstance(image, (str, os.PathLike)) else "the image"
            with open_image(image, name) as opened, one_large_at_a_time(opened):
                return self._fit(upright(opened, self.channels, name, self.size))
        array = as_uint8(image, name or "the image")
        if array.shape == (*self.size, self.channels):
            return array
        if array.shape == self.size and self.channels == 1:
            return array[..., None]
        return self._fit(upright(_from_array(array, name or "the image"), self.channels))

    def _fit(self, image: Image.Image) -> np.ndarray:
        height, width = self.size
        if image.size != (width, height):
            scale = max(width / image.width, height / image.height)
            across, down = min(width / scale, image.width), min(height / scale, image.height)
            left, top = (image.width - across) / 2, (image.height - down) / 2
            image = image.resize(
                (width, height), INTERPOLATIONS[self.interpolation], box=(left, top, left + across, top + down)
            )
        return np.array(image).reshape(height, width, self.channels)

    def prepare_all(self, pixels: Pixels, on_progress: Callable[[int, int], None] | None = None) -> Pixels:
        """`prepare` for each of uint8 [N, h, w, c]: uint8 [N, H, W, C]. Returned uncopied where nothing changes.

        on_progress: called now and then with (done, total).
        """
        if pixels.shape[1:] == (*self.size, self.channels):
            return pixels
        if pixels.shape[1:] == (*self.size, 1) and self.channels == 3:
            return np.repeat(np.asarray(pixels), 3, axis=3)  # what Pillow does for gray to RGB
        out = np.empty((len(pixels), *self.size, self.channels), np.uint8)
        for index, picture in enumerate(pixels):
            out[index] = self.prepare(picture)
            if on_progress and (index % 1024 == 1023 or index + 1 == len(pixels)):
                on_progress(index + 1, len(pixels))
        return out

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, C] to float32 [N, C, H, W]: (pixels / 255 - mean) / std, in that order in float32."""
        x = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
        x /= np.float32(255)
        x -= np.array(self.mean, np.float32)[:, None, None]
        x /= np.array(self.std, np.float32)[:, None, None]
        return x

    def fitted(self, pixels: Pixels) -> "Preprocess":
        """The same with mean and population standard deviation of these training pixels, uint8 [N, H, W, C].

        Counted exactly with integers. A channel that never varies gets standard deviation 1.
        """
        channels = pixels.shape[3]
        if channels != self.channels or len(pixels) == 0:
            raise InputError(f"preprocess: cannot fit {self.channels} channels to pixels {list(pixels.shape)}")
        n, totals, squares = moments(pixels)
        mean, std = [], []
        for total, square in zip(totals, squares, strict=True):
            variance = (n * square - total * total) / (n * n)  # of exact integers: no cancellation
            mean.append(total / n / 255)
            std.append(math.sqrt(variance) / 255 or 1.0)
        return replace(self, mean=tuple(mean), std=tuple(std))

    def scaled(self, scale: str, pixels: Pixels) -> "Preprocess":
        """The same with the mean and deviation of a scale of the recipe, `preprocess.scale`.

        scale: "standard": those of these training pixels, see `fitted`. "unit": 0 and 1, so that the network sees
            pixels from 0 to 1. "symmetric": 0.5 and 0.5, from -1 to 1.
        """
        if scale == "standard":
            return self.fitted(pixels)
        mean, std = {"unit": (0.0, 1.0), "symmetric": (0.5, 0.5)}[scale]
        return replace(self, mean=(mean,) * self.channels, std=(std,) * self.channels)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "size": list(self.size),
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`. Raises `InputError` on a missing, unknown or senseless value."""
        known = ("size", "channels", "mean", "std", "interpolation")
        if not isinstance(values, Mapping):
            raise InputError(f"preprocess: must be an object with {', '.join(known)}")
        for key in values:
            if key not in known:
                raise InputError(f"preprocess: unknown key {short(key)}{nearest(str(key)[:80], known)}")
        for key in known:
            if key not in values:
                raise InputError(f"preprocess: '{key}' is missing")
        if not isinstance(values["interpolation"], str):
            raise InputError(f"preprocess: interpolation must be one of {', '.join(INTERPOLATIONS)}")
        return cls(**values)


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))) or 0 in array.shape:
        raise InputError(
            f"{name}: an array picture must be [H, W] or [H, W, C] with C = 1 to 4, not {list(array.shape)}"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
