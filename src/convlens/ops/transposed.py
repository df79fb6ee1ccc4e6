"""Transposed convolution: the linear map of a convolution's input gradient, used forwards to make images larger.

Sources: Zeiler et al., "Deconvolutional networks", 2010; Dumoulin and Visin, "A guide to convolution arithmetic for
deep learning", 2016.
"""

from typing import Any

import numpy as np

from convlens import geometry
from convlens.base.errors import InputError
from convlens.ops import _checks
from convlens.ops._switch import replaceable
from convlens.ops._types import Array, ArrayLike, Padding, Size
from convlens.ops._windows import Windows
from convlens.ops.arrays import as_floats
from convlens.ops.convolution import ConvolutionGradients, bias_gradient


@replaceable
def conv_transpose2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    output_size: tuple[int, int] | None = None,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """y[n, o, p s + i d - top, q s + j d - left] += w[c, o, i, j] * x[n, c, p, q] for every c, p, q, i, j; plus b[o].

    Each input pixel stamps its copy of the kernel onto the output: `conv2d` with the same weight and options, run
    backwards. What it undoes is the shape, not the values.

    Args:
        x: images (N, C_in, H, W).
        w: kernels (C_in, C_out / groups, K_h, K_w).
        b: bias (C_out), or None.
        stride, dilation: one integer, or (vertical, horizontal).
        padding: cells cut off around the output, written as for `conv2d`; "same" gives H_out = H * s and "valid"
            H_out = (H - 1) s + max((K_h - 1) d + 1, s), as TensorFlow does.
        output_padding: rows and columns added below and to the right, fewer than the stride or the dilation.
        output_size: (H_out, W_out), instead of `output_padding`.

    Returns:
        (N, C_out, H_out, W_out), H_out = (H - 1) s - top - bottom + (K_h - 1) d + 1 + output_padding.

    Raises:
        InputError: shapes, types or sizes that do not fit, or an output size that no output padding gives.
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x, w, b, windows, groups = checked(x, w, b, output_padding=output_padding, output_size=output_size, **options)
    y = np.empty((len(x), w.shape[1] * groups, *windows.size), x.dtype)
    kernels = w.reshape(groups, len(w) // groups, -1)  # each group: (C_in / groups, C_out / groups * K_h * K_w)
    for image, output in zip(x, y, strict=True):
        # As in `conv2d_backward`, W^T G and the sum over the copies of a pixel; here the image stands for G.
        stamps = kernels.swapaxes(1, 2) @ image.reshape(groups, kernels.shape[1], -1)
        output[...] = windows.fold(stamps.reshape(-1, *windows.kernel, *windows.output))
    return y if b is None else y + b[:, None, None]


@replaceable
def conv_transpose2d_backward(
    grad: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    output_size: tuple[int, int] | None = None,
    dilation: Size = 1,
    groups: int = 1,
) -> ConvolutionGradients:
    """Gradients of `conv_transpose2d` for grad (N, C_out, H_out, W_out).

    dx is the convolution of grad with w; dw is the weight gradient of that convolution, where x is the gradient.
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    grad, x, w, windows, groups = checked_backward(
        grad, x, w, output_padding=output_padding, output_size=output_size, **options
    )
    kernels = w.reshape(groups, len(w) // groups, -1)
    dx, dkernels = np.empty_like(x), np.zeros_like(kernels)
    for n, image in enumerate(x):
        patches = windows.patches(grad[n]).reshape(groups, kernels.shape[2], -1)
        dx[n] = (kernels @ patches).reshape(image.shape)  # W P
        dkernels += image.reshape(groups, kernels.shape[1], -1) @ patches.swapaxes(1, 2)  # G P^T
    return ConvolutionGradients(dx, dkernels.reshape(w.shape), bias_gradient(grad))


def checked(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    output_size: Any = None,
    dilation: Any = 1,
    groups: Any = 1,
) -> tuple[Array, Array, Array | None, Windows, int]:
    """The operands in one float type, the windows of the convolution that is transposed, and the number of groups."""
    x, w, b = as_floats(x=x, w=w, b=b)
    windows, groups = _windows(x, w, stride, padding, output_padding, output_size, dilation, groups)
    if b is not None:
        _checks.expect_shape("b", b, (w.shape[1] * groups,))
    return x, w, b, windows, groups


def checked_backward(
    grad: ArrayLike, x: ArrayLike, w: ArrayLike, **options: Any
) -> tuple[Array, Array, Array, Windows, int]:
    """As `checked`, with the gradient of the output."""
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    x, w, _, windows, groups = checked(x, w, **options)
    _checks.expect_shape("grad", grad, (len(x), w.shape[1] * groups, *windows.size))
    return grad, x, w, windows, groups


def _windows(
    x: Array, w: Array, stride: Any, padding: Any, output_padding: Any, output_size: Any, dilation: Any, groups: Any
) -> tuple[Windows, int]:
    """The convolution that this one transposes: from images of our output size to images of our input size."""
    _, c_in, *size = _checks.dimensions("x", x, "N C_in H W")
    kernels, c_group, *kernel = _checks.dimensions("w", w, "C_in C_out/groups K_h K_w")
    if kernels != c_in:
        raise InputError(f"w: shape {w.shape} is for {kernels} input channels, expected {c_in} as x has")
    groups = _checks.grouped(groups, c_in, c_group * _checks.whole("groups", groups, 1))
    stride = _checks.per_axis("stride", stride, 2)
    dilation = _checks.per_axis("dilation", dilation, 2)
    extra = _extra(output_padding, output_size, padding, stride, dilation)
    output = _output(size, kernel, stride, padding, dilation, extra)
    if output_size is not None:
        output = _requested(output_size, output, stride, dilation)
    if min(output) < 1:
        raise InputError(f"padding: {padding!r} leaves an output of {output}, expected at least 1 x 1")
    around = _checks.sides(padding, output, kernel, stride, dilation)
    return Windows.of(output, kernel, stride, around, dilation, output=size), groups


def _extra(output_padding: Any, output_size: Any, padding: Any, stride: tuple, dilation: tuple) -> tuple[int, ...]:
    """The rows and columns that `output_padding` adds."""
    extra = _checks.per_axis("output_padding", output_padding, 2, least=0)
    if any(extra) and (output_size is not None or isinstance(padding, str)):
        where = f"for padding {padding!r}" if output_size is None else "where output_size is given"
        raise InputError(f"output_padding: {output_padding!r}, expected 0 {where}")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise InputError(f"output_padding: {output_padding!r}, expected less than the stride or dilation")
    return extra


def _output(size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, extra: Any) -> tuple[int, ...]:
    """(H_out, W_out), the least of which a convolution makes this size, and what is to be added."""
    named = padding if isinstance(padding, str) else 0
    axes = zip(size, kernel, stride, dilation, strict=True)
    output = [geometry.transposed_size(n, k, s, named, d) for n, k, s, d in axes]  # type: ignore[arg-type]
    if named:
        return tuple(output)
    around = _checks.sides(padding, size, kernel, stride, dilation)
    return tuple(n - sum(p) + e for n, p, e in zip(output, around, extra, strict=True))


def _requested(output_size: Any, least: tuple[int, ...], stride: tuple, dilation: tuple) -> tuple[int, ...]:
    """The requested output size, which must lie less than a stride (or dilation) above the least one."""
    requested = _checks.per_axis("output_size", output_size, 2)
    most = tuple(n + max(s, d) - 1 for n, s, d in zip(least, stride, dilation, strict=True))
    if any(not low <= n <= high for low, n, high in zip(least, requested, most, strict=True)):
        raise InputError(f"output_size: {output_size!r}, expected between {least} and {most}")
    return requested
