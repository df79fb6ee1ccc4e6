"""Smooth activation functions, elementwise but for `glu` and the softmaxes. Shapes: any -> the same (`glu` halves one
axis). float32 in gives float32 out. Those with a kink stand in `rectifier`.

Every backward function takes the gradient of the output and the input x; where the output y makes it cheaper, it can
be passed too. (`np.asarray`, because of a single number NumPy makes a scalar.)
"""

from math import pi, sqrt

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import real, resolve_axis
from convlens.ops._switch import replaceable
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_float, as_floats, check_same_shape, checked
from convlens.ops.rectifier import ActivationGradients


@replaceable
def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + exp(-x)), written as (1 + tanh(x / 2)) / 2, which never overflows."""
    return _sigmoid(as_float("x", x))


def _sigmoid(x: Array) -> Array:
    y = np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
    # For very negative x the sum above has cancelled: there exp(x) is the answer to full relative precision.
    tail = x < -8
    if tail.any():
        small = np.exp(x[tail])
        y[tail] = small / (1 + small)
    return y


@replaceable
def sigmoid_backward(grad: ArrayLike, x: ArrayLike, *, y: Array | None = None) -> ActivationGradients:
    """grad * y * (1 - y)."""
    grad, x = checked(grad, x)
    y = _sigmoid(x) if y is None else y
    return ActivationGradients(np.asarray(grad * y * (1 - y)))


@replaceable
def tanh(x: ArrayLike) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return np.asarray(np.tanh(as_float("x", x)))


@replaceable
def tanh_backward(grad: ArrayLike, x: ArrayLike, *, y: Array | None = None) -> ActivationGradients:
    """grad * (1 - y^2)."""
    grad, x = checked(grad, x)
    y = np.asarray(np.tanh(x)) if y is None else y
    return ActivationGradients(np.asarray(grad * (1 - y * y)))


@replaceable
def silu(x: ArrayLike) -> Array:
    """x * sigmoid(x), also called swish. Source: Elfwing, Uchibe and Doya, 2018."""
    x = as_float("x", x)
    return np.asarray(x * _sigmoid(x))


@replaceable
def silu_backward(grad: ArrayLike, x: ArrayLike) -> ActivationGradients:
    """grad * s * (1 + x * (1 - s)) with s = sigmoid(x)."""
    grad, x = checked(grad, x)
    s = _sigmoid(x)
    return ActivationGradients(np.asarray(grad * s * (1 + x * (1 - s))))


@replaceable
def softplus(x: ArrayLike, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """log(1 + exp(beta x)) / beta, a smooth ReLU; x itself where beta x > threshold, as PyTorch does.

    Written as (max(z, 0) + log(1 + exp(-|z|))) / beta with z = beta x, which never overflows.
    Source: Dugas et al., 2001.
    """
    x, (beta, threshold) = as_float("x", x), _softplus_settings(beta, threshold)
    return np.where(x * beta > threshold, x, _softplus(x * beta) / beta)


@replaceable
def softplus_backward(
    grad: ArrayLike, x: ArrayLike, *, beta: float = 1.0, threshold: float = 20.0
) -> ActivationGradients:
    """grad * sigmoid(beta x); grad itself where beta x > threshold."""
    (grad, x), (beta, threshold) = checked(grad, x), _softplus_settings(beta, threshold)
    return ActivationGradients(np.where(x * beta > threshold, grad, grad * _sigmoid(x * beta)))


def _softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _softplus_settings(beta: float, threshold: float) -> tuple[float, float]:
    if real("beta", beta) == 0:
        raise InputError("beta: 0, expected another number: softplus divides by it")
    return real("beta", beta), real("threshold", threshold)


@replaceable
def log_sigmoid(x: ArrayLike) -> Array:
    """log(1 / (1 + exp(-x))), written as min(x, 0) - log(1 + exp(-|x|)), which never overflows."""
    x = as_float("x", x)
    return np.asarray(np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))


@replaceable
def log_sigmoid_backward(grad: ArrayLike, x: ArrayLike) -> ActivationGradients:
    """grad * sigmoid(-x)."""
    grad, x = checked(grad, x)
    return ActivationGradients(np.asarray(grad * _sigmoid(-x)))


@replaceable
def mish(x: ArrayLike) -> Array:
    """x * tanh(log(1 + exp(x))). Source: Misra, "Mish", 2019."""
    x = as_float("x", x)
    return np.asarray(x * np.tanh(_softplus(x)))


@replaceable
def mish_backward(grad: ArrayLike, x: ArrayLike) -> ActivationGradients:
    """grad * (t + x * (1 - t^2) * sigmoid(x)) with t = tanh(log(1 + exp(x)))."""
    grad, x = checked(grad, x)
    t = np.tanh(_softplus(x))
    return ActivationGradients(np.asarray(grad * (t + x * (1 - t * t) * _sigmoid(x))))


def glu(x: ArrayLike, *, axis: int = -1) -> Array:
    """Gated linear unit: a * sigmoid(b), where a and b are the two halves of x along `axis` (so the output is half).

    Source: Dauphin et al., "Language modeling with gated convolutional networks", 2017.
    """
    a, b = _halves(as_float("x", x), axis)
    return a * sigmoid(b)


def glu_backward(grad: ArrayLike, x: ArrayLike, *, axis: int = -1) -> ActivationGradients:
    """grad * s for the first half, grad * a * s * (1 - s) for the second, with s = sigmoid(b)."""
    grad, x = as_floats(grad=grad, x=x)
    a, b = _halves(x, axis)
    check_same_shape(grad, a.shape)
    s = sigmoid(b)
    return ActivationGradients(np.concatenate([grad * s, grad * a * s * (1 - s)], axis=axis))


def _halves(x: Array, axis: int) -> tuple[Array, Array]:
    if x.ndim == 0:
        raise InputError("x: a single number, expected at least one axis to halve")
    n = x.shape[resolve_axis("axis", axis, x.ndim)]
    if n % 2:
        raise InputError(f"x: shape {x.shape}, expected an even size along axis {axis}")
    a, b = np.split(x, 2, axis=axis)
    return a, b


_TANH_SCALE, _TANH_CUBIC = sqrt(2 / pi), 0.044715


@replaceable
def gelu(x: ArrayLike, *, approximate: str = "none") -> Array:
    """x * Phi(x) with the normal distribution's Phi(x) = (1 + erf(x / sqrt(2))) / 2.

    `approximate="tanh"`: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). Source: Hendrycks and Gimpel, 2016.
    """
    x = as_float("x", x)
    if _is_tanh(approximate):
        return np.asarray(0.5 * x * (1 + np.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x**3))))
    return np.asarray(x * _normal_cdf(x))


@replaceable
def gelu_backward(grad: ArrayLike, x: ArrayLike, *, approximate: str = "none") -> ActivationGradients:
    """grad * (Phi(x) + x * phi(x)) with the normal density phi, or the derivative of the approximation."""
    grad, x = checked(grad, x)
    if _is_tanh(approximate):
        t = np.tanh(_TANH_SCALE * (x + _TANH_CUBIC * x**3))
        slope = (1 - t * t) * _TANH_SCALE * (1 + 3 * _TANH_CUBIC * x * x)
        return ActivationGradients(np.asarray(grad * (0.5 * (1 + t) + 0.5 * x * slope)))
    phi = np.exp(-0.5 * x * x) * (1 / sqrt(2 * pi))
    return ActivationGradients(np.asarray(grad * (_normal_cdf(x) + x * phi)))


def _normal_cdf(x: Array) -> Array:
    from scipy.special import erf  # takes longer to import than all of ours, and is needed only here

    return 0.5 * (1 + erf(x * sqrt(0.5)))


def _is_tanh(approximate: str) -> bool:
    if approximate not in ("none", "tanh"):
        raise InputError(f"approximate: {approximate!r}, expected 'none' or 'tanh'")
    return approximate == "tanh"


def softmax(x: ArrayLike, *, axis: int = -1) -> Array:
    """exp(x_i) / sum_j exp(x_j) along `axis`; the maximum is subtracted first, so nothing overflows."""
    x, axes = _along(x, axis)
    y = np.asarray(np.exp(x - _maximum(x, axes)))
    y /= y.sum(axis=axes, keepdims=True)
    return y


def softmax_backward(grad: ArrayLike, x: ArrayLike, *, axis: int = -1, y: Array | None = None) -> ActivationGradients:
    """y * (grad - sum_j grad_j y_j), since y_j grows with x_i by y_j ([i = j] - y_i)."""
    grad, x = checked(grad, x)
    x, axes = _along(x, axis)
    y = softmax(x, axis=axis) if y is None else y
    return ActivationGradients(np.asarray(y * (grad - (grad * y).sum(axis=axes, keepdims=True))))


def log_softmax(x: ArrayLike, *, axis: int = -1) -> Array:
    """x_i - log sum_j exp(x_j) along `axis`, with the maximum taken out of the sum."""
    x, axes = _along(x, axis)
    shifted = x - _maximum(x, axes)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axes, keepdims=True)))


def log_softmax_backward(
    grad: ArrayLike, x: ArrayLike, *, axis: int = -1, y: Array | None = None
) -> ActivationGradients:
    """grad - softmax(x) * sum_j grad_j, since y_j grows with x_i by [i = j] - softmax(x)_i."""
    grad, x = checked(grad, x)
    x, axes = _along(x, axis)
    y = log_softmax(x, axis=axis) if y is None else y
    return ActivationGradients(np.asarray(grad - np.exp(y) * grad.sum(axis=axes, keepdims=True)))


def _along(x: ArrayLike, axis: int) -> tuple[Array, tuple[int, ...]]:
    """x, and its axis as a tuple: empty for a single number, which is the only one of its kind."""
    x = as_float("x", x)
    axis = resolve_axis("axis", axis, x.ndim)
    return x, (axis,) if x.ndim else ()


def _maximum(x: Array, axes: tuple[int, ...]) -> Array:
    """The maximum along the axes, kept with size 1; 0 where there is nothing to take it of."""
    return x.max(axis=axes, keepdims=True) if x.size else x.sum(axis=axes, keepdims=True)
