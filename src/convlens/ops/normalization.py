"""Normalization over the batch, a layer, an instance, or groups of channels: one formula over different axes.

    x_hat = (x - mean) / s  with  s = sqrt(var + eps),    y = w * x_hat + b

`mean` and `var` (the population variance) are taken over the axes named by the variant; w and b hold one number per
channel (layer normalization: one per element of the normalized shape).

The gradient of the input, with g = grad * w, that of x_hat: each of the n values x_i that share a mean moves every
x_hat_j in three ways, directly (i = j), through the mean, whose slope is 1 / n, and through s, whose slope is
x_hat_i / n:

    d x_hat_j / d x_i = ([i = j] - 1 / n - x_hat_j x_hat_i / n) / s

Summed over j, each times its g_j:

    dx = (g - mean(g) - x_hat * mean(g * x_hat)) / s

The functions calculate this step by step in one array (`*=`, `+=`): of large arrays each further one costs time.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_float, as_floats, channel_shape, check_same_shape


class NormGradients(NamedTuple):
    """Gradients with respect to the arguments; w and b have the shape that the argument has (or would have)."""

    x: Array
    w: Array
    b: Array


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and population variance in two passes, which does not cancel as E[x^2] - E[x]^2 does; axes are kept."""
    mean = x.mean(axis=axes, keepdims=True)
    centered = x - mean
    centered *= centered
    return mean, centered.mean(axis=axes, keepdims=True)


def _normalized(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """x_hat, and 1 / s with its axes kept."""
    mean, var = moments(x, axes)
    inverse_std = 1 / np.sqrt(var + eps)
    return shifted_and_scaled(x, mean, inverse_std), inverse_std


def shifted_and_scaled(x: Array, mean: Array, factor: Array) -> Array:
    y = x - mean
    y *= factor
    return y


def _input_gradient(g: Array, x_hat: Array, inverse_std: Array, axes: tuple[int, ...]) -> Array:
    """The formula at the top of this file."""
    gx = x_hat * -(g * x_hat).mean(axis=axes, keepdims=True)
    gx += g
    gx -= g.mean(axis=axes, keepdims=True)
    gx *= inverse_std
    return gx


def group_norm(
    x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, groups: int, eps: float = 1e-5
) -> Array:
    """Normalizes each image over each of `groups` equal groups of channels and all positions.

    Args:
        x: (N, C, ...), C divisible by `groups`.
        w, b: (C).

    Source: Wu and He, "Group normalization", 2018. One group is layer normalization over (C, ...), C groups are
    instance normalization.
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    x_hat, _ = _grouped(x, groups, eps)
    check_vectors(x, w=w, b=b)
    shape = channel_shape(x.ndim, x.shape[1])
    if w is not None:
        x_hat *= w.reshape(shape)
    if b is not None:
        x_hat += b.reshape(shape)
    return x_hat


def group_norm_backward(
    grad: ArrayLike,
    x: ArrayLike,
    w: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    groups: int,
    eps: float = 1e-5,
) -> NormGradients:
    """Gradients of `group_norm`."""
    grad, x, w, _ = as_floats(grad=grad, x=x, w=w, b=b)
    check_same_shape(grad, x.shape)
    x_hat, inverse_std = _grouped(x, groups, eps)
    g = grad if w is None else grad * w.reshape(channel_shape(x.ndim, x.shape[1]))
    split = (x.shape[0], groups, prod(x.shape[1:]) // groups)
    gx = _input_gradient(g.reshape(split), x_hat.reshape(split), inverse_std, (2,)).reshape(x.shape)
    axes = all_but_channels(x)
    return NormGradients(gx, (grad * x_hat).sum(axis=axes), grad.sum(axis=axes))


def _grouped(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    """x_hat in the shape of x, and 1 / sqrt(var + eps) (N, groups, 1)."""
    channels_first("x", x)
    if groups < 1 or x.shape[1] % groups:
        raise InputError(f"groups: {groups}, expected a divisor of the {x.shape[1]} channels of x")
    rows = x.reshape(x.shape[0], groups, prod(x.shape[1:]) // groups)
    x_hat, inverse_std = _normalized(rows, (2,), eps)
    return x_hat.reshape(x.shape), inverse_std


def instance_norm(x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, eps: float = 1e-5) -> Array:
    """Normalizes each channel of each image over its positions; x (N, C, ...), w and b (C).

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """
    x = channels_first("x", x)
    return group_norm(x, w, b, groups=x.shape[1], eps=eps)


def instance_norm_backward(
    grad: ArrayLike, x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, eps: float = 1e-5
) -> NormGradients:
    """Gradients of `instance_norm`."""
    x = channels_first("x", x)
    return group_norm_backward(grad, x, w, b, groups=x.shape[1], eps=eps)


def layer_norm(
    x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, axes: int = 1, eps: float = 1e-5
) -> Array:
    """Normalizes over the last `axes` axes; w and b have the shape of those axes.

    Source: Ba, Kiros and Hinton, "Layer normalization", 2016. For images (N, C, H, W), axes = 3.
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    y, _ = _normalized(x, _last_axes(x, axes, w, b), eps)
    if w is not None:
        y *= w
    if b is not None:
        y += b
    return y


def layer_norm_backward(
    grad: ArrayLike,
    x: ArrayLike,
    w: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    axes: int = 1,
    eps: float = 1e-5,
) -> NormGradients:
    """Gradients of `layer_norm`."""
    grad, x, w, b = as_floats(grad=grad, x=x, w=w, b=b)
    check_same_shape(grad, x.shape)
    over = _last_axes(x, axes, w, b)
    x_hat, inverse_std = _normalized(x, over, eps)
    gx = _input_gradient(grad if w is None else grad * w, x_hat, inverse_std, over)
    leading = tuple(range(x.ndim - axes))
    return NormGradients(gx, (grad * x_hat).sum(axis=leading), grad.sum(axis=leading))


# --- checks ---------------------------------------------------------------------------------------------------------


def channels_first(name: str, value: ArrayLike) -> Array:
    x = as_float(name, value)
    if x.ndim < 2:
        raise InputError(f"{name}: shape {x.shape}, expected at least two axes (N, C, ...)")
    return x


def all_but_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def check_vectors(x: Array, **vectors: Array | None) -> None:
    channels_first("x", x)
    for name, vector in vectors.items():
        if vector is not None and vector.shape != (x.shape[1],):
            raise InputError(f"{name}: shape {vector.shape}, expected ({x.shape[1]},), one number per channel of x")


def _last_axes(x: Array, axes: int, w: Array | None, b: Array | None) -> tuple[int, ...]:
    if not 1 <= axes <= x.ndim:
        raise InputError(f"axes: {axes}, expected 1 to {x.ndim}, the number of axes of x")
    for name, array in (("w", w), ("b", b)):
        if array is not None and array.shape != x.shape[x.ndim - axes :]:
            raise InputError(f"{name}: shape {array.shape}, expected {x.shape[x.ndim - axes :]}, the last axes of x")
    return tuple(range(x.ndim - axes, x.ndim))
