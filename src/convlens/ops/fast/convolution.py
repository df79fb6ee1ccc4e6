"""The fast forms of convolution and of its transpose: arguments, results and errors are those of the plain ones."""

from inspect import unwrap
from typing import Any

from convlens.ops import convolution as plain
from convlens.ops import transposed as plain_transposed
from convlens.ops._types import Array
from convlens.ops.convolution import ConvolutionGradients
from convlens.ops.fast.correlate import all_finite, bias_gradient, correlate, correlate_backward
from convlens.ops.fast.windows import Windows


def conv2d(x: Any, w: Any, b: Any = None, **options: Any) -> Array:
    """See `ops.conv2d`."""
    x, w, b, windows, groups = plain.checked(x, w, b, **options)
    if not all_finite(x):
        return unwrap(plain.conv2d)(x, w, b, **options)
    return correlate(x, w, b, Windows.of(windows), groups)[0]


def conv2d_backward(grad: Any, x: Any, w: Any, *, need_x: bool = True, **options: Any) -> ConvolutionGradients:
    """See `ops.conv2d_backward`."""
    grad, x, w, windows, groups = plain.checked_backward(grad, x, w, **options)
    if not all_finite(grad, x):
        return unwrap(plain.conv2d_backward)(grad, x, w, need_x=need_x, **options)
    dx, dw = correlate_backward(grad, x, w, Windows.of(windows), groups, need_x=need_x)
    return ConvolutionGradients(dx, dw, bias_gradient(grad))  # type: ignore[arg-type]


def conv_transpose2d(x: Any, w: Any, b: Any = None, **options: Any) -> Array:
    """See `ops.conv_transpose2d`."""
    x, w, b, windows, groups = plain_transposed.checked(x, w, b, **options)
    if not all_finite(x):
        return unwrap(plain_transposed.conv_transpose2d)(x, w, b, **options)
    y, _ = correlate_backward(x, None, w, Windows.of(windows), groups)
    assert y is not None
    if b is not None:
        y += b[:, None, None]
    return y


def conv_transpose2d_backward(grad: Any, x: Any, w: Any, **options: Any) -> ConvolutionGradients:
    """See `ops.conv_transpose2d_backward`."""
    grad, x, w, windows, groups = plain_transposed.checked_backward(grad, x, w, **options)
    if not all_finite(grad, x):
        return unwrap(plain_transposed.conv_transpose2d_backward)(grad, x, w, **options)
    dx, dw = correlate(grad, w, None, Windows.of(windows), groups, against=x)
    return ConvolutionGradients(dx, dw, bias_gradient(grad))  # type: ignore[arg-type]
