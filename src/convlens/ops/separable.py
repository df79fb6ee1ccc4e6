"""Depthwise convolution, and depthwise-separable convolution: first each channel in space, then the channels.

Sources: Sifre and Mallat, "Rigid-motion scattering for texture classification", 2014; Chollet, "Xception", 2017;
Howard et al., "MobileNets", 2017.
"""

from typing import NamedTuple

from convlens.base.errors import InputError
from convlens.ops import _checks
from convlens.ops._types import Array, ArrayLike, Padding, Size
from convlens.ops.arrays import as_floats
from convlens.ops.convolution import ConvolutionGradients, conv1x1, conv1x1_backward, conv2d, conv2d_backward


class SeparableGradients(NamedTuple):
    """Gradients with respect to the input, the depthwise and the pointwise weight, and the bias."""

    x: Array
    depthwise: Array
    pointwise: Array
    b: Array


def depthwise_conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Array:
    """y[n, c m + k] = b[c m + k] + the cross-correlation of channel x[n, c] with kernel w[c m + k, 0].

    x (N, C, H, W), w (C * m, 1, K_h, K_w) for a depth multiplier m, b (C * m) or None -> (N, C * m, H_out, W_out).
    Each output channel sees one input channel: `conv2d` with as many groups as channels. Options as there.
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    return conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=_channels(x, w))


def depthwise_conv2d_backward(
    grad: ArrayLike, x: ArrayLike, w: ArrayLike, *, stride: Size = 1, padding: Padding = 0, dilation: Size = 1
) -> ConvolutionGradients:
    """Gradients of `depthwise_conv2d` for grad (N, C * m, H_out, W_out)."""
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    return conv2d_backward(grad, x, w, **options, groups=_channels(x, w))


def _channels(x: Array, w: Array) -> int:
    """The number of input channels, which must divide that of the kernels."""
    channels = _checks.dimensions("x", x, "N C H W")[1]
    kernels, one = _checks.dimensions("w", w, "C*m 1 K_h K_w")[:2]
    if one != 1 or kernels % channels:
        raise InputError(f"w: shape {w.shape}, expected ({channels} * m, 1, K_h, K_w) for x with {channels} channels")
    return channels


def separable_conv2d(
    x: ArrayLike,
    depthwise: ArrayLike,
    pointwise: ArrayLike,
    b: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Array:
    """conv1x1(depthwise_conv2d(x, depthwise), pointwise, b): K_h K_w + C_out weights per channel, not their product.

    x (N, C, H, W), depthwise (C * m, 1, K_h, K_w), pointwise (C_out, C * m), b (C_out) -> (N, C_out, H_out, W_out).
    """
    x, depthwise, pointwise, b = as_floats(x=x, depthwise=depthwise, pointwise=pointwise, b=b)
    between = depthwise_conv2d(x, depthwise, stride=stride, padding=padding, dilation=dilation)
    return conv1x1(between, pointwise, b)


def separable_conv2d_backward(
    grad: ArrayLike,
    x: ArrayLike,
    depthwise: ArrayLike,
    pointwise: ArrayLike,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> SeparableGradients:
    """Gradients of `separable_conv2d` for grad (N, C_out, H_out, W_out); the image in between is computed again."""
    grad, x, depthwise, pointwise = as_floats(grad=grad, x=x, depthwise=depthwise, pointwise=pointwise)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    between = depthwise_conv2d(x, depthwise, **options)
    d_between, d_pointwise, db = conv1x1_backward(grad, between, pointwise)
    dx, d_depthwise, _ = depthwise_conv2d_backward(d_between, x, depthwise, **options)
    return SeparableGradients(dx, d_depthwise, d_pointwise, db)
