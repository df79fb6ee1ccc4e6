"""A convolution written as one sparse matrix: what a convolutional layer is among the linear maps.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, section 4.1.
"""

from typing import Any

import numpy as np

from convlens.ops import _checks
from convlens.ops._checks import Padding, Size
from convlens.ops.convolution import _windows as checked_windows


def conv2d_matrix(
    w: Any,
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

    (w,) = _checks.arrays(w=w)
    c_out, c_group, k_h, k_w = _checks.dimensions("w", w, "C_out C_in/groups K_h K_w")
    c_in = c_group * _checks.whole("groups", groups, 1)
    height, width = _checks.per_axis("size", size, 2)
    image = np.broadcast_to(w.dtype.type(0), (1, c_in, height, width))
    windows, groups = checked_windows(image, w, stride, padding, dilation, groups)

    # For every output cell (o, p, q) and kernel cell (c, i, j): the input row and column under the kernel cell.
    o, p, q, c, i, j = np.ogrid[:c_out, : windows.output[0], : windows.output[1], :c_group, :k_h, :k_w]
    y = p * windows.stride[0] + i * windows.dilation[0] - windows.around[0][0]
    x = q * windows.stride[1] + j * windows.dilation[1] - windows.around[1][0]
    channel = c + o // (c_out // groups) * c_group

    output_cell = (o * windows.output[0] + p) * windows.output[1] + q
    input_cell = (channel * height + y) * width + x
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    row, column, value, inside = np.broadcast_arrays(output_cell, input_cell, w[:, None, None], inside)
    shape = (c_out * windows.output[0] * windows.output[1], c_in * height * width)
    return csr_array((value[inside], (row[inside], column[inside])), shape=shape)
