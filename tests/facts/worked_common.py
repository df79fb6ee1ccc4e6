"""What the computations of the worked examples have in common."""

from typing import Any

import numpy as np


def array(value):
    return np.array(value, np.float64)


def image(value):
    """[H][W] or [C][H][W] as a batch of one."""
    x = array(value)
    return x.reshape(1, *((1,) * (3 - x.ndim)), *x.shape)


def settings(params, *names) -> dict[str, Any]:
    """Those of the parameters that an operation takes, lists as tuples."""
    return {n: tuple(params[n]) if isinstance(params[n], list) else params[n] for n in names if n in params}


def filled(shape, order: str | None = "NHWC") -> np.ndarray:
    """Any array of that shape as N, C, H, W."""
    x = np.arange(float(np.prod(shape))).reshape(shape)
    return x.transpose(0, 3, 1, 2) if order == "NHWC" else x


def nhwc(y):
    n, c, h, w = y.shape
    return [n, h, w, c]


def conv_padding(padding) -> Any:
    if isinstance(padding, dict):
        return tuple(padding[side] for side in ("top", "bottom", "left", "right"))
    if isinstance(padding, list) and len(padding) == 4:  # TensorFlow: batch, height, width, channels
        return (*padding[1], *padding[2])
    return padding.lower() if isinstance(padding, str) else tuple(padding) if isinstance(padding, list) else padding
