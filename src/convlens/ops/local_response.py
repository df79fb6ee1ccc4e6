"""Local response normalization: each value is divided by the activity of its neighbors across channels."""

from typing import NamedTuple

from convlens.base.errors import InputError
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_float, as_floats, check_same_shape


class LocalResponseGradients(NamedTuple):
    """Gradient with respect to the input, of its shape."""

    x: Array


def local_response_norm(
    x: ArrayLike, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """x_c / d_c^beta with d_c = k + alpha / size * (sum of x^2 over the `size` channels around c).

    PyTorch's definition: the window reaches size // 2 channels down and (size - 1) // 2 up, is cut at the ends, and
    alpha is divided by `size`. The paper (AlexNet: k = 2, size = 5, alpha = 1e-4, beta = 0.75) does not divide: its
    alpha is ours times 5, as it is in TensorFlow.

    Args:
        x: (N, C, ...).

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional networks", 2012.
    """
    x = _checked(x, size)
    return x * _denominator(x, size, alpha, k) ** -beta


def local_response_norm_backward(
    grad: ArrayLike, x: ArrayLike, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> LocalResponseGradients:
    """grad_c d_c^-beta - 2 alpha beta / size * x_c * (sum of grad x d^(-beta - 1) over the channels that see c)."""
    grad, x = as_floats(grad=grad, x=_checked(x, size))
    check_same_shape(grad, x.shape)
    d = _denominator(x, size, alpha, k)
    from_neighbors = _window_sum(grad * x * d ** (-beta - 1), (size - 1) // 2, size // 2)
    return LocalResponseGradients(grad * d**-beta - (2 * alpha * beta / size) * x * from_neighbors)


def _denominator(x: Array, size: int, alpha: float, k: float) -> Array:
    return k + (alpha / size) * _window_sum(x * x, size // 2, (size - 1) // 2)


def _window_sum(x: Array, below: int, above: int) -> Array:
    """The sum over channels c - below ... c + above, cut at the ends."""
    channels = x.shape[1]
    y = x.copy()
    for offset in range(1, min(above, channels - 1) + 1):
        y[:, : channels - offset] += x[:, offset:]
    for offset in range(1, min(below, channels - 1) + 1):
        y[:, offset:] += x[:, : channels - offset]
    return y


def _checked(x: ArrayLike, size: int) -> Array:
    x = as_float("x", x)
    if x.ndim < 2:
        raise InputError(f"x: shape {x.shape}, expected at least two axes (N, C, ...)")
    if size < 1:
        raise InputError(f"size: {size}, expected at least one channel")
    return x
