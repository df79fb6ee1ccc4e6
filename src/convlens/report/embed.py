"""Pictures that stand inside the page, as data URIs."""

import base64

import numpy as np

from convlens.inspection import pictures


def data_uri(pixels: np.ndarray, *, small: bool = False) -> str:
    """A picture inside the page: uint8 [H, W, C]. Photographs as JPEG, small or transparent pictures as PNG.

    small: the shorter one of both, of a picture that is not transparent.
    """
    photograph = max(pixels.shape[:2]) > 64 and pixels.shape[2] == 3
    kind, content = ("jpeg", pictures.jpeg(pixels)) if photograph else ("png", pictures.png(pixels))
    if small and not photograph:
        kind, content = min((kind, content), ("jpeg", pictures.jpeg(pixels, 85)), key=lambda one: len(one[1]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
