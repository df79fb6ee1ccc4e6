"""Activation functions, elementwise but for the softmaxes. Shapes: any -> the same. float32 in gives float32 out.

Every backward function takes the gradient of the output and the input x; where the output y makes it cheaper, it can
be passed too.
"""

from math import pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._parallel import in_parts
from convlens.ops.arrays import as_float, as_floats, check_same_shape
from convlens.ops.erf import erf

ArrayLike = Any


class ActivationGradients(NamedTuple):
    """Gradient with respect to the input, of its shape and type."""

    x: np.ndarray


def _checked(grad: ArrayLike, x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    grad, x = as_floats(grad=grad, x=x)
    check_same_shape(grad, x.shape)
    return grad, x


def relu(x: ArrayLike) -> np.ndarray:
    """max(x, 0). Source: Nair and Hinton, 2010."""
    return in_parts(lambda x: np.maximum(x, x.dtype.type(0)), as_float("x", x))


def relu_backward(grad: ArrayLike, x: ArrayLike) -> ActivationGradients:
    """Passes the gradient where x > 0; 0 at x = 0, as PyTorch and TensorFlow do."""
    return ActivationGradients(in_parts(lambda grad, x: grad * (x > 0), *_checked(grad, x)))


def leaky_relu(x: ArrayLike, *, slope: float = 0.01) -> np.ndarray:
    """x where x > 0, else slope * x. Source: Maas, Hannun and Ng, 2013."""
    return in_parts(lambda x: np.where(x > 0, x, slope * x), as_float("x", x))


def leaky_relu_backward(grad: ArrayLike, x: ArrayLike, *, slope: float = 0.01) -> ActivationGradients:
    """grad where x > 0, else slope * grad (also at x = 0)."""
    return ActivationGradients(in_parts(lambda grad, x: np.where(x > 0, grad, slope * grad), *_checked(grad, x)))


def clamp(x: ArrayLike, *, low: float | None = None, high: float | None = None) -> np.ndarray:
    """min(max(x, low), high); None leaves that side open. ReLU6 is clamp(x, low=0, high=6)."""
    if low is None and high is None:
        raise InputError("clamp: neither low nor high is given, expected at least one of them")
    x = as_float("x", x)
    return np.clip(x, low, high)


def clamp_backward(
    grad: ArrayLike, x: ArrayLike, *, low: float | None = None, high: float | None = None, closed: bool = True
) -> ActivationGradients:
    """Passes the gradient where x lies between the limits; on a limit itself only if `closed`.

    PyTorch counts the limits as inside for `clamp` and as outside for `hardtanh` and `relu6`.
    """
    grad, x = _checked(grad, x)
    inside = np.ones(x.shape, bool)
    if low is not None:
        inside &= x >= low if closed else x > low
    if high is not None:
        inside &= x <= high if closed else x < high
    return ActivationGradients(grad * inside)


def sigmoid(x: ArrayLike) -> np.ndarray:
    """1 / (1 + exp(-x)), written as (1 + tanh(x / 2)) / 2, which never overflows."""
    return in_parts(_sigmoid, as_float("x", x))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    y = np.tanh(x * 0.5)
    y += 1
    y *= 0.5
    # For very negative x the sum above has cancelled: there exp(x) is the answer to full relative precision.
    tail = x < -8
    if tail.any():
        small = np.exp(x[tail])
        y[tail] = small / (1 + small)
    return y


def sigmoid_backward(grad: ArrayLike, x: ArrayLike, *, y: np.ndarray | None = None) -> ActivationGradients:
    """grad * y * (1 - y)."""
    grad, x = _checked(grad, x)
    y = sigmoid(x) if y is None else y
    return ActivationGradients(in_parts(lambda grad, y: grad * y * (1 - y), grad, y))


def tanh(x: ArrayLike) -> np.ndarray:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return in_parts(np.tanh, as_float("x", x))


def tanh_backward(grad: ArrayLike, x: ArrayLike, *, y: np.ndarray | None = None) -> ActivationGradients:
    """grad * (1 - y^2)."""
    grad, x = _checked(grad, x)
    y = tanh(x) if y is None else y
    return ActivationGradients(in_parts(lambda grad, y: grad * (1 - y * y), grad, y))


def silu(x: ArrayLike) -> np.ndarray:
    """x * sigmoid(x), also called swish. Source: Elfwing, Uchibe and Doya, 2018."""
    return in_parts(lambda x: x * _sigmoid(x), as_float("x", x))


def silu_backward(grad: ArrayLike, x: ArrayLike) -> ActivationGradients:
    """grad * s * (1 + x * (1 - s)) with s = sigmoid(x)."""

    def formula(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
        s = _sigmoid(x)
        return grad * s * (1 + x * (1 - s))

    return ActivationGradients(in_parts(formula, *_checked(grad, x)))


_TANH_SCALE, _TANH_CUBIC = sqrt(2 / pi), 0.044715


def gelu(x: ArrayLike, *, approximate: str = "none") -> np.ndarray:
    """x * Phi(x) with the normal distribution's Phi(x) = (1 + erf(x / sqrt(2))) / 2.

    `approximate="tanh"`: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). Source: Hendrycks and Gimpel, 2016.
    """
    x = as_float("x", x)
    if _is_tanh(approximate):
        return in_parts(lambda x: 0.5 * x * (1 + np.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x**3))), x)
    return in_parts(lambda x: 0.5 * x * (1 + erf(x * sqrt(0.5))), x)


def gelu_backward(grad: ArrayLike, x: ArrayLike, *, approximate: str = "none") -> ActivationGradients:
    """grad * (Phi(x) + x * phi(x)) with the normal density phi, or the derivative of the approximation."""

    def exactly(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
        phi = np.exp(-0.5 * x * x) * (1 / sqrt(2 * pi))
        return grad * (0.5 * (1 + erf(x * sqrt(0.5))) + x * phi)

    def by_tanh(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
        t = np.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x**3))
        slope = (1 - t * t) * _TANH_SCALE * (1 + 3 * _TANH_CUBIC * x * x)
        return grad * (0.5 * (1 + t) + 0.5 * x * slope)

    return ActivationGradients(in_parts(by_tanh if _is_tanh(approximate) else exactly, *_checked(grad, x)))


def _is_tanh(approximate: str) -> bool:
    if approximate not in ("none", "tanh"):
        raise InputError(f"approximate: {approximate!r}, expected 'none' or 'tanh'")
    return approximate == "tanh"


def softmax(x: ArrayLike, *, axis: int = -1) -> np.ndarray:
    """exp(x_i) / sum_j exp(x_j) along `axis`; the maximum is subtracted first, so nothing overflows."""
    x = as_float("x", x)
    y = np.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y


def softmax_backward(
    grad: ArrayLike, x: ArrayLike, *, axis: int = -1, y: np.ndarray | None = None
) -> ActivationGradients:
    """y * (grad - sum_j grad_j y_j)."""
    grad, x = _checked(grad, x)
    y = softmax(x, axis=axis) if y is None else y
    return ActivationGradients(y * (grad - (grad * y).sum(axis=axis, keepdims=True)))


def log_softmax(x: ArrayLike, *, axis: int = -1) -> np.ndarray:
    """x_i - log sum_j exp(x_j) along `axis`, with the maximum taken out of the sum."""
    x = as_float("x", x)
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def log_softmax_backward(
    grad: ArrayLike, x: ArrayLike, *, axis: int = -1, y: np.ndarray | None = None
) -> ActivationGradients:
    """grad - softmax(x) * sum_j grad_j."""
    grad, x = _checked(grad, x)
    y = log_softmax(x, axis=axis) if y is None else y
    return ActivationGradients(grad - np.exp(y) * grad.sum(axis=axis, keepdims=True))
