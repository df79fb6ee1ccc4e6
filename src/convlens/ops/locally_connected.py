"""Locally connected layer: a convolution whose kernel is another one at every output position (unshared weights).

Sources: LeCun, "Generalization and network design strategies", 1989; Taigman et al., "DeepFace", 2014.
"""

from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops import _checks
from convlens.ops._types import Array, ArrayLike, Padding, Size
from convlens.ops._windows import Windows
from convlens.ops.arrays import as_floats

BLOCK = 1 << 22  # bytes of patches built at a time


class LocallyConnectedGradients(NamedTuple):
    """Gradients with respect to the input, the weight and the bias."""

    x: Array
    w: Array
    b: Array


def locally_connected2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Array:
    """A convolution with weights of its own at every output position (p, q):

    y[n, o, p, q] = b[o, p, q] + sum over c, i, j of w[p, q, o, c, i, j] x[n, c, p s + i d - top, q s + j d - left]

    Args:
        x: images (N, C_in, H, W).
        w: kernels (H_out, W_out, C_out, C_in, K_h, K_w), one set for each output position.
        b: bias (C_out, H_out, W_out), as unshared as the weights; or None.
        stride, padding, dilation: as for `conv2d`.

    Returns:
        (N, C_out, H_out, W_out).
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    windows = _windows(x, w, stride, padding, dilation)
    p, q, c_out = w.shape[:3]
    if b is not None:
        _checks.expect_shape("b", b, (c_out, p, q))
    y = np.empty((len(x), c_out, p, q), x.dtype)
    matrices = w.reshape(p, q, c_out, -1)
    for images in _blocks(x, w):
        y[images] = (matrices @ _patches(windows, x[images])).transpose(3, 2, 0, 1)
    return y if b is None else y + b


def locally_connected2d_backward(
    grad: ArrayLike, x: ArrayLike, w: ArrayLike, *, stride: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> LocallyConnectedGradients:
    """Gradients of `locally_connected2d` for grad (N, C_out, H_out, W_out): those of a dense layer at each position."""
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    windows = _windows(x, w, stride, padding, dilation)
    p, q, c_out, *window = w.shape
    _checks.expect_shape("grad", grad, (len(x), c_out, p, q))
    matrices = w.reshape(p, q, c_out, -1)
    dx, dmatrices = np.empty_like(x), np.zeros_like(matrices)
    for images in _blocks(x, w):
        g = np.ascontiguousarray(grad[images].transpose(2, 3, 1, 0))  # (H_out, W_out, C_out, n)
        dmatrices += g @ _patches(windows, x[images]).swapaxes(2, 3)  # G P^T, see `convolution`
        dpatches = matrices.swapaxes(2, 3) @ g  # W^T G
        dx[images] = windows.fold(dpatches.transpose(3, 2, 0, 1).reshape(-1, *window, p, q))
    return LocallyConnectedGradients(dx, dmatrices.reshape(w.shape), grad.sum(axis=0))


def _patches(windows: Windows, images: Array) -> Array:
    """What every position sees, (H_out, W_out, C_in K_h K_w, n): at each a matrix with a column for every image."""
    patches = windows.patches(images).reshape(len(images), -1, *windows.output)
    return np.ascontiguousarray(patches.transpose(2, 3, 1, 0))


def _blocks(x: Array, w: Array) -> list[slice]:
    """A few images at a time, so that their patches take little memory."""
    step = max(1, BLOCK // (w[:, :, 0].size * x.itemsize))
    return [slice(start, start + step) for start in range(0, len(x), step)]


def _windows(x: Array, w: Array, stride: Any, padding: Any, dilation: Any) -> Windows:
    """Where the kernels look, after all checks."""
    _, c_in, *size = _checks.dimensions("x", x, "N C_in H W")
    *output, _, c_kernel, k_h, k_w = _checks.dimensions("w", w, "H_out W_out C_out C_in K_h K_w")
    stride = _checks.per_axis("stride", stride, 2)
    dilation = _checks.per_axis("dilation", dilation, 2)
    around = _checks.sides(padding, size, (k_h, k_w), stride, dilation)
    _checks.kernel_fits("w", size, (k_h, k_w), around, dilation)
    windows = Windows.of(size, (k_h, k_w), stride, around, dilation)
    if tuple(output) != windows.output or c_kernel != c_in:
        expected = (*windows.output, "C_out", c_in, k_h, k_w)
        raise InputError(f"w: shape {w.shape}, expected ({', '.join(map(str, expected))})")
    return windows
