"""Numbers that a user gives: typed, from a file of numbers, or from a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from convlens import ops
from convlens.base import files
from convlens.base.errors import InputError, nearest

_LARGEST = 1 << 20  # bytes of a file of numbers
_NUMBERS = (".csv", ".txt", ".tsv")


def kernel(value: Any) -> np.ndarray:
    """A kernel [K_h, K_w], [C, K_h, K_w] or [C_out, C, K_h, K_w]: a name of `ops.kernels`, or what `array` takes."""
    if isinstance(value, str) and value.replace("-", " ") in ops.kernels.ALL:
        return np.array(ops.kernels.ALL[value.replace("-", " ")])
    found = array("kernel", value, known=list(ops.kernels.ALL))
    if not 2 <= found.ndim <= 4:
        raise InputError(
            f"--set kernel: {found.ndim} dimensions, expected 2 (rows), 3 (channels) or 4 (several kernels)"
        )
    return found


def image(value: Any, size: int) -> tuple[np.ndarray, str]:
    """An image [C, H, W] of at most `size` rows and columns, and a note about what was made of a picture.

    A picture is turned gray and made smaller; its values stay 0 to 255.
    """
    if isinstance(value, str) and Path(value).is_file() and Path(value).suffix.lower() not in _NUMBERS:
        return _picture(value, size)
    found = array("input", value)
    if found.ndim not in (2, 3):
        raise InputError(f"--set input: {found.ndim} dimensions, expected 2 (rows) or 3 (channels)")
    found = found[None] if found.ndim == 2 else found
    if max(found.shape[1:]) > 16 or len(found) > 4:
        shape = "×".join(map(str, found.shape))
        raise InputError(f"--set input: {shape} is too large to be shown; at most 4 channels of 16×16")
    return found, ""


def array(what: str, value: Any, known: "list[str] | tuple[str, ...]" = ()) -> np.ndarray:
    """Lists in lists, rows such as "1 2; 3 4", or the path of a text file with a row of numbers a line."""
    given = value
    if isinstance(value, str):
        value = _rows(what, value, known)
    try:
        found = np.array(value, np.float64)
    except (ValueError, TypeError):
        found = np.array(np.nan)
    if not found.size or found.ndim == 0 or not np.isfinite(found).all():
        raise InputError(f'--set {what}: expected rows of equal length, such as "1 2; 3 4" (got {str(given)[:60]!r})')
    return found


def _rows(what: str, text: str, known: "list[str] | tuple[str, ...]") -> list[list[float]]:
    if Path(text).suffix.lower() in _NUMBERS or Path(text).is_file():
        text = files.read_text(text, _LARGEST)
    try:
        rows = [row.replace(",", " ").split() for row in text.replace("\n", ";").split(";")]
        return [[float(number) for number in row] for row in rows if row]
    except ValueError:
        names = f"; names: {', '.join(known)}" if known else ""
        raise InputError(
            f'--set {what}: {text[:60]!r} is neither rows of numbers such as "1 2; 3 4" nor a file that is here'
            f"{nearest(text, known) or names}"
        ) from None


def _picture(path: str, size: int) -> tuple[np.ndarray, str]:
    from convlens.data.decode import open_image

    with open_image(path) as picture:
        width, height = picture.size
        small = picture.convert("L")
        small.thumbnail((size, size))
        pixels = np.asarray(small, np.float64)
    rows, columns = pixels.shape
    return pixels[None], f"{path}: {width}×{height} pixels were made gray and reduced to {columns}×{rows}"
