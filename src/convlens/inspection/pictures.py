"""Arrays as pictures: PNG files, contact sheets, filter kernels. NumPy and Pillow only."""

import io
import math

import numpy as np


def png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 [H, W, C] with C = 1 (gray), 3 (RGB) or 4 (RGBA)."""
    return _encoded(pixels, "PNG")


def jpeg(pixels: np.ndarray, quality: int = 88) -> bytes:
    """The JPEG file of uint8 [H, W, C] with C = 1 (gray) or 3 (RGB)."""
    return _encoded(pixels, "JPEG", quality=quality)


def _encoded(pixels: np.ndarray, kind: str, **options: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def grid(pixels: np.ndarray, columns: int | None = None, gap: int = 1, background: int = 128) -> np.ndarray:
    """N pictures uint8 [N, H, W, C] on one sheet, row by row, `gap` pixels apart: uint8 [rows, width, C]."""
    n, height, width, channels = pixels.shape
    columns = columns or max(1, math.isqrt(max(0, n - 1)) + 1)
    rows = max(1, math.ceil(n / columns))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), background, dtype=np.uint8)
    for i, picture in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def kernels(weight: np.ndarray) -> np.ndarray:
    """Convolution kernels [C_out, C_in, K_h, K_w] as pictures: uint8 [n, K_h, K_w, 1 or 3].

    Three input channels give one color picture a kernel, else one gray picture a kernel and input channel.
    Middle gray is zero; the largest magnitude of each kernel is white or black, so that small kernels show too.
    """
    out, channels, height, width = weight.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = weight / np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
    shades = np.rint(127.5 + 127.5 * np.nan_to_num(scaled, nan=0.0)).astype(np.uint8)
    if channels == 3:
        return shades.transpose(0, 2, 3, 1)
    return shades.reshape(out * channels, height, width, 1)
