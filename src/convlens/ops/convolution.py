"""Convolution, as layers mean it (cross-correlation), in one and two dimensions, with its usual special forms.

Of one image it is one matrix product (Chellapilla, Puri and Simard, 2006):

    W  (C_out, C_in K_h K_w)         a kernel in each row
    P  (C_in K_h K_w, H_out W_out)   the *patches*: row (c, i, j) is what kernel cell (i, j) meets of channel c, in
                                     column (p, q) where the kernel lies at output position (p, q)
    Y = W P + b                      (C_out, H_out W_out), the output image

Let G be the gradient of the loss with respect to Y. Small changes dW and dP change Y by dW P + W dP, and so the loss by
the sum of G * (dW P + W dP) over all elements. The factor of each element of dW there, and of dP, is its gradient:

    of W:  G P^T        of P:  W^T G        of b:  the row sums of G

P only holds copies of pixels, up to K_h K_w of each, so the gradient of a pixel is the sum over its copies (`fold`, the
adjoint of `patches`). With groups each group of channels has a W, P and Y of its own, along a leading axis.

In the formulas n counts images, o and c output and input channels, (p, q) output positions, (i, j) kernel cells; s is
the stride and d the dilation.

Source of the conventions: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convlens.base.errors import InputError
from convlens.ops import _checks
from convlens.ops._switch import replaceable
from convlens.ops._types import Array, ArrayLike, Padding, Size
from convlens.ops._windows import Windows
from convlens.ops.arrays import as_floats


class ConvolutionGradients(NamedTuple):
    """Gradients with respect to the input (None if not asked for), the weight and the bias."""

    x: Array
    w: Array
    b: Array


@replaceable
def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """y[n, o, p, q] = b[o] + sum over c, i, j of w[o, c, i, j] * x[n, c, p s + i d - top, q s + j d - left].

    With groups, output channel o sees only the input channels of its own group.

    Args:
        x: images (N, C_in, H, W).
        w: kernels (C_out, C_in / groups, K_h, K_w).
        b: bias (C_out), or None.
        stride, dilation: one integer, or (vertical, horizontal).
        padding: zeros around the image: one integer, (vertical, horizontal), (top, bottom, left, right), "valid" (none)
            or "same" (TensorFlow's: H_out = ceil(H / stride), an odd cell goes below and to the right).
        groups: divides both numbers of channels; C_in of them is a depthwise convolution.

    Returns:
        (N, C_out, H_out, W_out), H_out = floor((H + top + bottom - (K_h - 1) d - 1) / s) + 1; float32 if all operands
        are float32 (or integers beside a float32), else float64.

    Raises:
        InputError: shapes, types or sizes that do not fit, or a kernel larger than the padded input.
    """
    x, w, b, windows, groups = checked(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)
    y = np.empty((len(x), len(w), *windows.output), x.dtype)
    kernels = w.reshape(groups, len(w) // groups, -1)  # each group: (C_out / groups, C_in / groups * K_h * K_w)
    for image, output in zip(x, y, strict=True):
        patches = windows.patches(image).reshape(groups, kernels.shape[2], -1)
        output[...] = (kernels @ patches).reshape(output.shape)
    return y if b is None else y + b[:, None, None]


@replaceable
def conv2d_backward(
    grad: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    need_x: bool = True,
) -> ConvolutionGradients:
    """Gradients of `conv2d` for grad (N, C_out, H_out, W_out), the gradient of its output.

    dw[o, c, i, j] = sum over n, p, q of grad[n, o, p, q] * x[n, c, p s + i d - top, q s + j d - left],
    dx is the sum of grad * w over all windows that saw the cell, db[o] = sum over n, p, q of grad[n, o, p, q].

    `need_x=False` leaves dx out (None): a first layer has no use for it.
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    grad, x, w, windows, groups = checked_backward(grad, x, w, **options)
    kernels = w.reshape(groups, len(w) // groups, -1)
    dx, dkernels = np.empty_like(x) if need_x else None, np.zeros_like(kernels)
    for n, image in enumerate(x):
        patches = windows.patches(image).reshape(groups, kernels.shape[2], -1)
        g = grad[n].reshape(groups, kernels.shape[1], -1)
        dkernels += g @ patches.swapaxes(1, 2)  # G P^T
        if dx is not None:
            # W^T G. With one kernel per group it is an outer product, where NumPy's * is faster than its @.
            dpatches = kernels.swapaxes(1, 2) * g if kernels.shape[1] == 1 else kernels.swapaxes(1, 2) @ g
            dx[n] = windows.fold(dpatches.reshape(-1, *windows.kernel, *windows.output))
    return ConvolutionGradients(dx, dkernels.reshape(w.shape), bias_gradient(grad))  # type: ignore[arg-type]


def bias_gradient(grad: Array) -> Array:
    """(N, C, H, W) -> (C): the bias is added at every position of every image, so its gradient is the sum over them.

    In float64, because the terms may cancel.
    """
    return grad.sum(axis=(0, 2, 3), dtype=np.float64).astype(grad.dtype)


def checked(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> tuple[Array, Array, Array | None, Windows, int]:
    """The operands in one float type, where the kernel looks, and the number of groups; raises what `conv2d` raises."""
    x, w, b = as_floats(x=x, w=w, b=b)
    known = (x.shape[1:], w.shape, repr((stride, padding, dilation, groups)))  # the text tells True from 1
    if known not in _KNOWN:
        if len(_KNOWN) >= 256:
            _KNOWN.clear()
        _KNOWN[known] = windows_of(x, w, stride, padding, dilation, groups)
    if b is not None and b.shape != w.shape[:1]:
        _checks.expect_shape("b", b, (len(w),))
    return x, w, b, *_KNOWN[known]


_KNOWN: dict[tuple, tuple[Windows, int]] = {}  # a network asks for the same few windows again and again


def checked_backward(
    grad: ArrayLike, x: ArrayLike, w: ArrayLike, **options: Any
) -> tuple[Array, Array, Array, Windows, int]:
    """As `checked`, with the gradient of the output."""
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    x, w, _, windows, groups = checked(x, w, **options)
    _checks.expect_shape("grad", grad, (len(x), len(w), *windows.output))
    return grad, x, w, windows, groups


def windows_of(x: NDArray[Any], w: Array, stride: Any, padding: Any, dilation: Any, groups: Any) -> tuple[Windows, int]:
    """Where the kernel looks, and the number of groups, after all checks of sizes."""
    _, c_in, *size = _checks.dimensions("x", x, "N C_in H W")
    c_out, c_group, *kernel = _checks.dimensions("w", w, "C_out C_in/groups K_h K_w")
    groups = _checks.grouped(groups, c_in, c_out)
    if c_group * groups != c_in:
        raise InputError(
            f"w: shape {w.shape} sees {c_group} input channels, expected {c_in // groups} "
            f"(x has {c_in} channels, groups is {groups})"
        )
    stride = _checks.per_axis("stride", stride, 2)
    dilation = _checks.per_axis("dilation", dilation, 2)
    around = _checks.sides(padding, size, kernel, stride, dilation)
    _checks.kernel_fits("w", size, kernel, around, dilation)
    return Windows.of(size, kernel, stride, around, dilation), groups


def conv1d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """y[n, o, p] = b[o] + sum over c, i of w[o, c, i] * x[n, c, p s + i d - before].

    x (N, C_in, L), w (C_out, C_in / groups, K), b (C_out) -> (N, C_out, L_out). `padding` is an integer,
    (before, after), "same" or "valid". All else as `conv2d`, which does the work on images of height 1.
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    options = one_axis(x, w, stride, padding, dilation)
    return conv2d(x[:, :, None], w[:, :, None], b, **options, groups=groups)[:, :, 0]


def conv1d_backward(
    grad: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    need_x: bool = True,
) -> ConvolutionGradients:
    """Gradients of `conv1d` for grad (N, C_out, L_out)."""
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    options = one_axis(x, w, stride, padding, dilation)
    _checks.dimensions("grad", grad, "N C_out L_out")
    dx, dw, db = conv2d_backward(
        grad[:, :, None], x[:, :, None], w[:, :, None], **options, groups=groups, need_x=need_x
    )
    return ConvolutionGradients(dx[:, :, 0] if need_x else None, dw[:, :, 0], db)  # type: ignore[arg-type]


def one_axis(x: Array, w: Array, stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    """The options of the same convolution on images of height 1."""
    size = _checks.dimensions("x", x, "N C_in L")[2:]
    kernel = _checks.dimensions("w", w, "C_out C_in/groups K")[2:]
    stride = _checks.per_axis("stride", stride, 1)
    dilation = _checks.per_axis("dilation", dilation, 1)
    around = _checks.sides(padding, size, kernel, stride, dilation)
    return {"stride": (1, *stride), "padding": (0, 0, *around[0]), "dilation": (1, *dilation)}


def true_conv2d(x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None, **options: Any) -> Array:
    """Convolution as mathematics means it: the kernel is flipped, w[o, c, K_h - 1 - i, K_w - 1 - j] stands at (i, j).

    Arguments as `conv2d`.
    """
    return conv2d(x, _flipped(w), b, **options)


def true_conv2d_backward(grad: ArrayLike, x: ArrayLike, w: ArrayLike, **options: Any) -> ConvolutionGradients:
    """Gradients of `true_conv2d`: those of `conv2d`, the weight's flipped back."""
    gradients = conv2d_backward(grad, x, _flipped(w), **options)
    return gradients._replace(w=_flipped(gradients.w))


def _flipped(w: ArrayLike) -> Array:
    (w,) = as_floats(w=w)
    return np.ascontiguousarray(w[..., ::-1, ::-1]) if w.ndim == 4 else w


def conv1x1(x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None) -> Array:
    """y[n, o, p, q] = b[o] + sum over c of w[o, c] * x[n, c, p, q]: a dense layer at every pixel.

    x (N, C_in, H, W), w (C_out, C_in), b (C_out) or None -> (N, C_out, H, W). Source: Lin, Chen and Yan, "Network in
    network", 2013.
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    _checks.dimensions("w", w, "C_out C_in")
    return conv2d(x, w[:, :, None, None], b)


def conv1x1_backward(grad: ArrayLike, x: ArrayLike, w: ArrayLike) -> ConvolutionGradients:
    """Gradients of `conv1x1` for grad (N, C_out, H, W)."""
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    _checks.dimensions("w", w, "C_out C_in")
    gradients = conv2d_backward(grad, x, w[:, :, None, None])
    return gradients._replace(w=gradients.w[:, :, 0, 0])
