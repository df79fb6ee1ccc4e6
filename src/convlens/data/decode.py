"""From the bytes of an image file to an upright Pillow image, with a guard against decompression bombs."""

import contextlib
import io
import os
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from convlens.base import files
from convlens.base.errors import InputError
from convlens.data.limits import MAX_BYTES, MAX_PIXELS, max_bytes, max_pixels
from convlens.data.naming import printable
from convlens.data.suffixes import PICTURES, has_heif
from convlens.data.tiff import quiet_libtiff

_REDUCED_FROM = 89_478_485
"""Pixels from which a picture is decoded at a reduced scale, at least twice as fine as needed. Smaller ones are not:
their pixels stay what they always were."""

_STRIPS_FROM = 1 << 24
"""Pixels from which a picture is converted strip by strip, and one at a time, so that memory stays small."""

_STRIP = 1 << 22  # pixels of one strip

_EMPTY_FROM, _PER_BYTE = 1 << 24, 20_000
"""A file that is said to have more than so many pixels, and more than so many for each of its bytes, holds nothing."""

# Formats that are decoded in this process by a codec. Left out on purpose: EPS and its like start a program.
_COMMON = ("JPEG", "PNG", "BMP", "GIF", "PPM")
_OTHERS = ("WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "DIB", "MPO", "QOI", "PCX")

EXTENSIONS = PICTURES
"""File names that count as images in a folder, those that cannot be read (see `suffixes.UNREADABLE`) among them."""

ImageLike = Image.Image | np.ndarray | str | os.PathLike | bytes | io.IOBase


def open_image(source: str | os.PathLike | bytes | io.IOBase, name: str | None = None) -> Image.Image:
    """Opens an image lazily and checks the sizes of file and picture. Raises `InputError` that names the file."""
    if name is None:
        name = printable(os.fspath(source)) if isinstance(source, (str, Path)) else "the image"
    file, size, path = _file(source, name)
    try:
        if size > max_bytes():
            raise InputError(f"{name}: refused, its {size:,} bytes are more than the {max_bytes():,} of {MAX_BYTES}")
        image = _open(file, path)
        image._exclusive_fp = file is not source  # type: ignore[attr-defined] - as `Image.open` does: it closes its own
        width, height = image.size
        if width * height > max_pixels():
            limit = f"the {max_pixels():,} pixels of {MAX_PIXELS}"
            raise InputError(f"{name}: refused, {width} x {height} is more than {limit}")
        if width * height > max(_EMPTY_FROM, _PER_BYTE * size):
            raise InputError(f"{name}: refused, {size:,} bytes do not hold {width} x {height} pixels")
        return image
    except BaseException as error:
        if file is not source:
            file.close()
        if isinstance(error, InputError) or not isinstance(error, Exception):
            raise
        if isinstance(error, UnidentifiedImageError):
            why = "not an image that can be read (unknown format, empty or damaged)"
        elif isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
            why = "refused, it would unpack to far more than a picture has"
        else:  # a damaged header can make a parser raise nearly anything
            why = f"cannot be read as an image ({_reason(error)})"
        raise InputError(f"{name}: {why}") from error


def _file(source: Any, name: str) -> tuple[Any, int, str]:
    """(an open file that can be sought in, its size in bytes, its path or "")."""
    if isinstance(source, bytes):
        return io.BytesIO(source), len(source), ""
    if not isinstance(source, (str, os.PathLike)):
        try:
            size = source.seek(0, io.SEEK_END)
            source.seek(0)
        except (AttributeError, OSError):  # a stream
            content = source.read(max_bytes() + 1)
            return io.BytesIO(content), len(content), ""
        return source, size, ""
    path = os.fspath(source)
    try:
        file = files.open_plain(path)
        return file, os.fstat(file.fileno()).st_size, path
    except InputError as error:
        cause = error.__cause__ if error.__cause__ is not None else error.__context__
        if os.path.isdir(path):
            raise InputError(f"{name}: a folder, not an image") from None
        for kind, why in ((FileNotFoundError, "no such file"), (PermissionError, "permission denied")):
            if isinstance(cause, kind) or isinstance(getattr(cause, "__cause__", None), kind):
                raise InputError(f"{name}: {why}") from None
        raise InputError(f"{name}: {str(error).removeprefix(f'cannot read {path}: ')}") from None


def _open(file: Any, path: str) -> Image.Image:
    """As `Image.open`, which warns of pictures above a size that is a switch of the whole process, so not ours."""
    head = file.read(16)
    Image.preinit()
    image = _first_that_opens(_COMMON, file, head, path)
    if image is None:
        Image.init()
        others = [*_OTHERS]
        if has_heif():
            import pillow_heif

            pillow_heif.register_heif_opener()
            others.append("HEIF")
        image = _first_that_opens(others, file, head, path)
    if image is None:
        raise UnidentifiedImageError
    return image


def _first_that_opens(formats: Iterable[str], file: Any, head: bytes, path: str) -> Image.Image | None:
    for name in formats:
        factory, accepts = Image.OPEN.get(name, (None, None))
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # how plugins say: not mine
            if factory is not None and (accepts is None or accepts(head) is True):
                file.seek(0)
                return factory(file, path)
    return None


@contextlib.contextmanager
def one_large_at_a_time(image: Image.Image) -> Iterator[None]:
    """To be held from decoding a picture until only the small result is left."""
    with _LARGE if image.width * image.height > _STRIPS_FROM else contextlib.nullcontext():
        yield


_LARGE = threading.RLock()


def upright(
    image: Image.Image, channels: int, name: str = "the image", enough: tuple[int, int] | None = None
) -> Image.Image:
    """The first frame, turned as its EXIF tag says, as mode L (`channels` 1) or RGB (3).

    Transparent pixels are laid on white; 16-bit gray is divided by 257; floating-point pixels must lie in 0..1.
    enough: (H, W) that will be needed. A picture of more than 89 megapixels comes back smaller, down to twice that.
    Raises `InputError` that names the file if it cannot be decoded.
    """
    wanted = "L" if channels == 1 else "RGB"
    pixels, finest = image.width * image.height, 2 * max(enough or (2048, 2048))
    reduced = pixels > _REDUCED_FROM
    try:
        if reduced:
            image.draft("", (finest, finest))  # JPEG alone can; for others it does nothing
        with quiet_libtiff() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()
    except MemoryError:
        raise InputError(f"{name}: decoding its {pixels:,} pixels takes more memory than there is") from None
    except Exception as error:
        raise InputError(f"{name}: damaged, it cannot be decoded ({_reason(error)})") from error
    try:
        if pixels > _STRIPS_FROM:
            factor = max(1, min(image.width, image.height) // finest) if reduced else 1
            return _turned(_by_strips(image, wanted, factor, name), orientation(image))
        image = _turned(image, orientation(image))
        if image.mode == wanted and "transparency" not in image.info:
            return image
        return _converted(image, wanted, name)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: pixels of mode {image.mode} cannot be converted ({_reason(error)})") from error


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def _turned(image: Image.Image, tag: int) -> Image.Image:
    return image.transpose(_TURNS[tag]) if tag in _TURNS else image


def _converted(image: Image.Image, wanted: str, name: str) -> Image.Image:
    return _flattened(_eight_bit(image, name)).convert(wanted)


def _by_strips(image: Image.Image, wanted: str, factor: int, name: str) -> Image.Image:
    """The picture converted, and made smaller by a whole number: each pixel the mean of factor x factor."""
    rows = max(1, _STRIP // image.width // factor) * factor
    out = Image.new(wanted, (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = _converted(strip, wanted, name)
        out.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return out


def orientation(image: Image.Image) -> int:
    """The EXIF tag of an opened image: 1 upright, 2 to 8 mirrored or turned. An unreadable EXIF block counts as 1."""
    try:
        tag = image.getexif().get(0x0112, 1)
    except Exception:  # a parser of damaged data can raise nearly anything; the pixels may still be whole
        return 1
    return tag if tag in range(1, 9) else 1


def is_turned(picture: ImageLike) -> bool:
    """Whether the EXIF tag of a picture that can be read says that it is stored turned or mirrored."""
    if isinstance(picture, Image.Image):
        return orientation(picture) != 1
    if isinstance(picture, np.ndarray):
        return False
    with open_image(picture) as image:
        return orientation(image) != 1


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
    return printable(" ".join(f"{error}".split()))[:300] or type(error).__name__
