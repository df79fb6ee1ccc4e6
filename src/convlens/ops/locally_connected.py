"""Locally connected layer: a convolution whose kernel is another one at every output position (unshared weights).

Sources: LeCun, "Generalization and network design strategies", 1989; Taigman et al., "DeepFace", 2014.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convlens.geometry import conv_size
from convlens.ops import _checks
from convlens.ops._checks import Array, Padding, Size

BLOCK = 1 << 22  # bytes of patches built at a time


class LocallyConnectedGradients(NamedTuple):
    """Gradients with respect to the input, the weight and the bias."""

    x: Array
    w: Array
    b: Array


def locally_connected2d(
    x: Any, w: Any, b: Any = None, *, stride: Size = 1, padding: Padding = 0, dilation: Size = 1
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
    x, w, b = _checks.arrays(x=x, w=w, b=b)
    view = _View(x, w, stride, padding, dilation)
    p, q, c_out = w.shape[:3]
    y = np.empty((len(x), c_out, p, q), x.dtype)
    matrices = w.reshape(p, q, c_out, -1)
    for images in view.blocks():
        patches = view.patches(view.padded(x[images]))  # (H_out, W_out, C_in K_h K_w, n)
        y[images] = (matrices @ patches).transpose(3, 2, 0, 1)
    if b is not None:
        _checks.expect_shape("b", b, (c_out, p, q))
        y += b
    return y


def locally_connected2d_backward(
    grad: Any, x: Any, w: Any, *, stride: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> LocallyConnectedGradients:
    """Gradients of `locally_connected2d` for grad (N, C_out, H_out, W_out): those of a dense layer at each position."""
    grad, x, w = _checks.arrays(grad=grad, x=x, w=w)
    view = _View(x, w, stride, padding, dilation)
    p, q, c_out, *window = w.shape
    _checks.expect_shape("grad", grad, (len(x), c_out, p, q))
    matrices = w.reshape(p, q, c_out, -1)
    dw = np.zeros_like(matrices)
    dx = np.empty_like(x)
    for images in view.blocks():
        g = np.ascontiguousarray(grad[images].transpose(2, 3, 1, 0))  # (H_out, W_out, C_out, n)
        dw += g @ view.patches(view.padded(x[images])).swapaxes(2, 3)
        seen = (matrices.swapaxes(2, 3) @ g).reshape(p, q, *window, -1)
        padded = view.padded(np.zeros_like(x[images]))
        for i, j, cells in view.cells(padded):
            cells += seen[:, :, :, i, j].transpose(3, 2, 0, 1)
        dx[images] = view.inside(padded)
    return LocallyConnectedGradients(dx, dw.reshape(w.shape), grad.sum(axis=0))


class _View:
    """What each output position sees, for checked arguments."""

    def __init__(self, x: Array, w: Array, stride: Any, padding: Any, dilation: Any) -> None:
        self.n, c_in, *size = _checks.dimensions("x", x, "N C_in H W")
        *output, _, c_kernel, k_h, k_w = _checks.dimensions("w", w, "H_out W_out C_out C_in K_h K_w")
        self.kernel, self.size = (k_h, k_w), size
        self.stride = _checks.per_axis("stride", stride, 2)
        self.dilation = _checks.per_axis("dilation", dilation, 2)
        self.around = _checks.sides(padding, size, self.kernel, self.stride, self.dilation)
        _checks.kernel_fits("w", size, self.kernel, self.around, self.dilation)
        axes = zip(size, self.kernel, self.stride, self.around, self.dilation, strict=True)
        self.output = [conv_size(*axis) for axis in axes]
        if output != self.output or c_kernel != c_in:
            expected = (*self.output, "C_out", c_in, k_h, k_w)
            raise _checks.InputError(f"w: shape {w.shape}, expected ({', '.join(map(str, expected))})")
        self.bytes = int(np.prod(w.shape)) // w.shape[2] * x.itemsize  # of one image's patches

    def blocks(self) -> list[slice]:
        """A few images at a time."""
        step = max(1, BLOCK // self.bytes)
        return [slice(start, min(start + step, self.n)) for start in range(0, self.n, step)]

    def padded(self, x: Array) -> Array:
        return np.pad(x, ((0, 0), (0, 0), *self.around))

    def inside(self, padded: Array) -> Array:
        (top, _), (left, _) = self.around
        return padded[:, :, top : top + self.size[0], left : left + self.size[1]]

    def cells(self, padded: Array) -> Any:
        """(i, j, view (n, C, H_out, W_out)) of what each kernel cell sees."""
        for i, j in np.ndindex(*self.kernel):
            (top, s_y, p), (left, s_x, q) = (
                (at * d, s, n) for at, d, s, n in zip((i, j), self.dilation, self.stride, self.output, strict=True)
            )
            yield i, j, padded[:, :, top : top + (p - 1) * s_y + 1 : s_y, left : left + (q - 1) * s_x + 1 : s_x]

    def patches(self, padded: Array) -> Array:
        """What every position sees, (H_out, W_out, C_in K_h K_w, n)."""
        (k_h, k_w), (d_y, d_x), (s_y, s_x) = self.kernel, self.dilation, self.stride
        extent = ((k_h - 1) * d_y + 1, (k_w - 1) * d_x + 1)
        windows = sliding_window_view(padded, extent, axis=(2, 3))[:, :, ::s_y, ::s_x, ::d_y, ::d_x]
        return windows.transpose(2, 3, 1, 4, 5, 0).reshape(*self.output, -1, len(padded))
