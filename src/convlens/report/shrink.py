"""Pictures made smaller, so that a run folder and its page stay light."""

import numpy as np


def shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 [N, H, W, C] with no side longer than `side` pixels, in the same shape."""
    n, height, width, channels = pixels.shape
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    from PIL import Image

    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = np.empty((n, size[1], size[0], channels), np.uint8)
    for i, picture in enumerate(pixels):
        image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if channels == 1 else picture))
        out[i] = np.asarray(image.resize(size, Image.Resampling.LANCZOS)).reshape(out.shape[1:])
    return out
