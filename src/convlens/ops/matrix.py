"""A convolution written as one sparse matrix: what a convolutional layer is among the linear maps.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, section 4.1.
"""

from math import prod
from typing import Any

import numpy as np

from convlens.ops import _checks
from convlens.ops._types import ArrayLike, Padding, Size
from convlens.ops.arrays import as_floats
from convlens.ops.convolution import windows_of


def conv2d_matrix(
    w: ArrayLike,
    size: tuple[int, int],
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Any:
    """The matrix M with M @ x.ravel() = conv2d(x, w).ravel() for one image x (C_in, H, W).

    M.T @ y.ravel() is the transposed convolution of y with the same weight. Each row holds the kernel of one output
    cell, placed where that cell looks, zero elsewhere; padding leaves cells of the kernel out.

    Args:
        w: kernels (C_out, C_in / groups, K_h, K_w).
        size: (H, W) of the images.
        stride, padding, dilation, groups: as for `conv2d`.

    Returns:
        scipy.sparse.csr_array (C_out * H_out * W_out, C_in * H * W) of w's float type.
    """
    from scipy.sparse import csr_array  # heavy, and needed only here

    (w,) = as_floats(w=w)
    c_out, c_group, k_h, k_w = _checks.dimensions("w", w, "C_out C_in/groups K_h K_w")
    c_in = c_group * _checks.whole("groups", groups, 1)
    height, width = _checks.per_axis("size", size, 2)
    image = np.arange(1, c_in * height * width + 1).reshape(1, c_in, height, width)
    windows, groups = windows_of(image, w, stride, padding, dilation, groups)

    # Numbered pixels show which one every kernel cell meets: (C_in, K_h, K_w, H_out, W_out), 0 where it is padding.
    pixel = windows.patches(image[0]).reshape(groups, c_group, k_h, k_w, *windows.output)
    pixel = np.repeat(pixel, c_out // groups, axis=0)  # output channels of one group look at the same pixels
    row = np.arange(c_out * prod(windows.output)).reshape(c_out, 1, 1, 1, *windows.output)
    row, value, inside = np.broadcast_to(row, pixel.shape), np.broadcast_to(w[..., None, None], pixel.shape), pixel > 0
    return csr_array((value[inside], (row[inside], pixel[inside] - 1)), shape=(row.max() + 1, image.size))
