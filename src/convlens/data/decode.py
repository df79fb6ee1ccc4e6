"""From the bytes of an image file to an upright Pillow image, with a guard against decompression bombs."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from convlens.base.errors import InputError
from convlens.data.naming import printable
from convlens.data.suffixes import PICTURES, has_heif

MAX_PIXELS = 89_478_485
"""The largest image that is decoded: Pillow's own warning level, 1/4 GiB of RGB. Checked on the header."""

# Formats that are decoded in this process by a codec. Left out on purpose: EPS and its like start a program.
_COMMON = ("JPEG", "PNG", "BMP", "GIF", "PPM")
_OTHERS = ("WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "DIB", "MPO", "QOI", "PCX")

EXTENSIONS = PICTURES
"""File names that count as images in a folder, those that cannot be read (see `suffixes.UNREADABLE`) among them."""

ImageLike = Image.Image | np.ndarray | str | os.PathLike | bytes | io.IOBase


def open_image(source: str | os.PathLike | bytes | io.IOBase, name: str | None = None) -> Image.Image:
    """Opens an image lazily and checks its size from the header. Raises `InputError` that names the file."""
    if name is None:
        name = printable(os.fspath(source)) if isinstance(source, (str, Path)) else "the image"
    try:
        image = _open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: a folder, not an image") from None
    except PermissionError:
        raise InputError(f"{name}: permission denied") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{name}: refused, it would unpack to more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: not an image that can be read (unknown format, empty or damaged)") from None
    except Exception as error:  # a damaged header can make a parser raise nearly anything
        raise InputError(f"{name}: cannot be read as an image ({_reason(error)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise InputError(f"{name}: refused, {width} x {height} is more than {MAX_PIXELS:,} pixels")
    return image


def _open(file: Any) -> Image.Image:
    try:
        return Image.open(file, formats=_COMMON)
    except UnidentifiedImageError:
        Image.init()
        if hasattr(file, "seek"):
            file.seek(0)
        formats = [f for f in _OTHERS if f in Image.OPEN]
        if has_heif():
            import pillow_heif

            pillow_heif.register_heif_opener()
            formats.append("HEIF")
        return Image.open(file, formats=formats)


def upright(image: Image.Image, channels: int, name: str = "the image") -> Image.Image:
    """The first frame, turned as its EXIF tag says, as mode L (`channels` 1) or RGB (3).

    Transparent pixels are laid on white; 16-bit grey is divided by 257; floating-point pixels must lie in 0..1.
    Raises `InputError` that names the file if it cannot be decoded.
    """
    wanted = "L" if channels == 1 else "RGB"
    try:
        image.load()
    except Exception as error:
        raise InputError(f"{name}: damaged, it cannot be decoded ({_reason(error)})") from error
    if orientation(image) != 1:
        with contextlib.suppress(Exception):  # as `orientation`
            image = ImageOps.exif_transpose(image)
    if image.mode == wanted and "transparency" not in image.info:
        return image
    try:
        return _flattened(_eight_bit(image, name)).convert(wanted)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: pixels of mode {image.mode} cannot be converted ({_reason(error)})") from error


def orientation(image: Image.Image) -> int:
    """The EXIF tag of an opened image: 1 upright, 2 to 8 mirrored or turned. An unreadable EXIF block counts as 1."""
    try:
        tag = image.getexif().get(0x0112, 1)
    except Exception:  # a parser of damaged data can raise nearly anything, and the picture is not to blame
        return 1
    return tag if tag in range(1, 9) else 1


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{name}: 32-bit pixels outside 0..65535; save it as 8-bit or 16-bit")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise InputError(f"{name}: floating-point pixels outside 0..1; save it as 8-bit or 16-bit")
        return Image.fromarray(np.round(values * 255).astype(np.uint8))
    return image


def _flattened(image: Image.Image) -> Image.Image:
    """Laid on white where it is transparent."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image)


def _reason(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
