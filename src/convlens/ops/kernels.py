"""The classic image kernels, as read-only float64 constants (k, k) for `conv2d` (which does not flip them).

Use as `conv2d(x, SHARPEN[None, None])`. `ALL` maps each name to its kernel.
"""

from typing import Any

import numpy as np


def _kernel(rows: Any, scale: float = 1.0) -> np.ndarray:
    kernel = np.array(rows, np.float64) * scale
    kernel.setflags(write=False)
    return kernel


IDENTITY = _kernel([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
"""Leaves the image as it is."""

SHARPEN = _kernel([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
"""The image minus its Laplacian: edges are exaggerated, flat regions stay (the weights sum to 1)."""

BOX_BLUR = _kernel([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 1 / 9)
"""The mean of the 3x3 neighborhood."""

GAUSSIAN_BLUR = _kernel([[1, 2, 1], [2, 4, 2], [1, 2, 1]], 1 / 16)
"""Binomial weights, the smallest approximation of a Gaussian."""

GAUSSIAN_BLUR_5 = _kernel(np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]), 1 / 256)
"""The 5x5 binomial kernel."""

EDGES = _kernel([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
"""The Laplacian over all eight neighbors: zero on flat regions and on linear ramps."""

LAPLACIAN = _kernel([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
"""The sum of the second differences down and across."""

SOBEL_X = _kernel([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
"""Difference from left to right, smoothed down: answers to vertical edges."""

SOBEL_Y = _kernel([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
"""Difference from top to bottom, smoothed across: answers to horizontal edges."""

EMBOSS = _kernel([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
"""A relief: bright where the image grows brighter towards the lower right."""

ALL = {
    "identity": IDENTITY,
    "sharpen": SHARPEN,
    "box blur": BOX_BLUR,
    "gaussian blur": GAUSSIAN_BLUR,
    "gaussian blur 5x5": GAUSSIAN_BLUR_5,
    "edges": EDGES,
    "laplacian": LAPLACIAN,
    "sobel x": SOBEL_X,
    "sobel y": SOBEL_Y,
    "emboss": EMBOSS,
}
