"""Normalization over the batch, a layer, an instance, or groups of channels: one formula over different axes.

    x_hat = (x - mean) / sqrt(var + eps),    y = w * x_hat + b

`mean` and `var` (the population variance) are taken over the axes named by the variant; w and b hold one number a
channel (layer normalization: one per element of the normalized shape). With n the number of values that share a mean,
and g = grad * w, the gradient of the input is

    (g - mean(g) - x_hat * mean(g * x_hat)) / sqrt(var + eps).
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops.arrays import as_float, as_floats, channel_shape, check_same_shape

ArrayLike = Any
Array = np.ndarray


class NormGradients(NamedTuple):
    """Gradients with respect to the arguments; w and b have the shape that the argument has (or would have)."""

    x: Array
    w: Array
    b: Array


class Statistics(NamedTuple):
    """Mean and population variance of each channel, both [C]."""

    mean: Array
    var: Array


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and population variance in two passes, which does not cancel as E[x^2] - E[x]^2 does; axes are kept."""
    mean = x.mean(axis=axes, keepdims=True)
    centered = x - mean
    centered *= centered
    return mean, centered.mean(axis=axes, keepdims=True)


def _affine(x: Array, mean: Array, factor: Array, b: Array | None) -> Array:
    """(x - mean) * factor + b, with one temporary."""
    y = x - mean
    y = np.multiply(y, factor, out=y if factor.ndim == y.ndim else None)
    if b is not None:
        y += b
    return y


def _input_gradient(g: Array, x_hat: Array, inverse_std: Array, axes: tuple[int, ...]) -> Array:
    """The formula at the top of this file."""
    gx = x_hat * -(g * x_hat).mean(axis=axes, keepdims=True)
    gx += g
    gx -= g.mean(axis=axes, keepdims=True)
    gx *= inverse_std
    return gx


def _channel_dots(a: Array, b: Array) -> Array:
    """The sum of a * b over all axes but the channels, without storing the product."""
    axes = "nchwdt"[: a.ndim]
    return np.einsum(f"{axes},{axes}->c", a, b)


# --- over the batch -------------------------------------------------------------------------------------------------


def batch_statistics(x: ArrayLike) -> Statistics:
    """Mean and population variance of each channel of x [N, C, ...] over all other axes."""
    x = _channels_first("x", x)
    if not x.size:
        raise InputError(f"x: shape {x.shape}, expected at least one number per channel to take the mean of")
    mean, var = _moments(x, _all_but_channels(x))
    return Statistics(mean.reshape(-1), var.reshape(-1))


def batch_norm(
    x: ArrayLike,
    w: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    statistics: Statistics | None = None,
) -> Array:
    """Training: each channel is normalized with the mean and the population variance of this batch.

    Args:
        x: [N, C, ...].
        w: scale [C], ones if left out (gamma).
        b: shift [C], zeros if left out (beta).
        statistics: `batch_statistics(x)` if they are at hand.

    Source: Ioffe and Szegedy, "Batch normalization", 2015.
    """
    mean, var = batch_statistics(x) if statistics is None else statistics
    return batch_norm_inference(x, mean, var, w, b, eps=eps)


def batch_norm_backward(
    grad: ArrayLike,
    x: ArrayLike,
    w: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    statistics: Statistics | None = None,
) -> NormGradients:
    """Gradients of `batch_norm`: the statistics depend on x, so every value answers for the whole channel."""
    grad, x, w, _ = as_floats(grad=grad, x=x, w=w, b=b)
    check_same_shape(grad, x.shape)
    mean, var = batch_statistics(x) if statistics is None else statistics
    shape, axes = channel_shape(x.ndim, x.shape[1]), _all_but_channels(x)
    inverse_std = 1 / np.sqrt(var + eps)
    x_hat = _affine(x, mean.reshape(shape), inverse_std.reshape(shape), None)
    gb = grad.sum(axis=axes)
    gw = _channel_dots(grad, x_hat)
    n = x.size // x.shape[1]
    factor = inverse_std if w is None else inverse_std * w
    # The formula of this file with both means taken from gb and gw, which are those sums.
    gx = np.multiply(x_hat, (gw / -n).reshape(shape), out=x_hat)
    gx += grad
    gx -= (gb / n).reshape(shape)
    gx *= factor.reshape(shape)
    return NormGradients(gx, gw, gb)


class InferenceGradients(NamedTuple):
    """Gradients of `batch_norm_inference` with respect to its arguments; mean and var are constants and get none."""

    x: Array
    w: Array
    b: Array


def batch_norm_inference(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    w: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> Array:
    """Inference: each channel is normalized with the given (running) mean and variance, both [C]."""
    x, mean, var, w, b = as_floats(x=x, mean=mean, var=var, w=w, b=b)
    _check_vectors(x, mean=mean, var=var, w=w, b=b)
    shape = channel_shape(x.ndim, x.shape[1])
    factor = 1 / np.sqrt(var + eps)
    if w is not None:
        factor = factor * w
    return _affine(x, mean.reshape(shape), factor.reshape(shape), None if b is None else b.reshape(shape))


def batch_norm_inference_backward(
    grad: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    w: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> InferenceGradients:
    """Gradients of `batch_norm_inference`: a fixed scale and shift for each channel."""
    grad, x, mean, var, w, _ = as_floats(grad=grad, x=x, mean=mean, var=var, w=w, b=b)
    check_same_shape(grad, x.shape)
    shape, axes = channel_shape(x.ndim, x.shape[1]), _all_but_channels(x)
    inverse_std = 1 / np.sqrt(var + eps)
    x_hat = _affine(x, mean.reshape(shape), inverse_std.reshape(shape), None)
    factor = inverse_std if w is None else inverse_std * w
    return InferenceGradients(grad * factor.reshape(shape), _channel_dots(grad, x_hat), grad.sum(axis=axes))


def update_statistics(running: Statistics, batch: Statistics, n: int, *, momentum: float = 0.1) -> Statistics:
    """The running statistics after a batch, in PyTorch's convention.

        running = (1 - momentum) * running + momentum * batch

    and the batch's variance counts in its unbiased form, times n / (n - 1). Keras writes its momentum the other way
    round (Keras 0.99 is 0.01 here) and stores the population variance: pass n = 0 for that.

    Args:
        running: what inference has used so far.
        batch: `batch_statistics(x)`.
        n: values that each channel had in the batch, x.size / C; 0 keeps the population variance.
        momentum: weight of the new batch, 0 to 1.

    Raises:
        ValueError: momentum outside 0 to 1, or n = 1, which has no unbiased variance.
    """
    if not 0 <= momentum <= 1:
        raise InputError(f"momentum: {momentum}, expected a weight between 0 and 1 (that of the new batch)")
    if n == 1:
        raise InputError("n: 1 value per channel, expected more: a single value has no variance")
    unbiased = batch.var * (n / (n - 1)) if n else batch.var
    return Statistics(
        (1 - momentum) * np.asarray(running.mean) + momentum * batch.mean,
        (1 - momentum) * np.asarray(running.var) + momentum * unbiased,
    )


# --- over groups, instances, layers ---------------------------------------------------------------------------------


def group_norm(
    x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, groups: int, eps: float = 1e-5
) -> Array:
    """Normalizes each image over each of `groups` equal groups of channels and all positions.

    Args:
        x: [N, C, ...], C divisible by `groups`.
        w, b: [C].

    Source: Wu and He, "Group normalization", 2018. One group is layer normalization over (C, ...), C groups are
    instance normalization.
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    x_hat, _ = _grouped(x, groups, eps)
    _check_vectors(x, w=w, b=b)
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
    axes = _all_but_channels(x)
    return NormGradients(gx, (grad * x_hat).sum(axis=axes), grad.sum(axis=axes))


def _grouped(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    """x_hat in the shape of x, and 1 / sqrt(var + eps) [N, groups, 1]."""
    _channels_first("x", x)
    if groups < 1 or x.shape[1] % groups:
        raise InputError(f"groups: {groups}, expected a divisor of the {x.shape[1]} channels of x")
    rows = x.reshape(x.shape[0], groups, prod(x.shape[1:]) // groups)
    mean, var = _moments(rows, (2,))
    inverse_std = 1 / np.sqrt(var + eps)
    return _affine(rows, mean, inverse_std, None).reshape(x.shape), inverse_std


def instance_norm(x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, eps: float = 1e-5) -> Array:
    """Normalizes each channel of each image over its positions; x [N, C, ...], w and b [C].

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """
    x = _channels_first("x", x)
    return group_norm(x, w, b, groups=x.shape[1], eps=eps)


def instance_norm_backward(
    grad: ArrayLike, x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, eps: float = 1e-5
) -> NormGradients:
    """Gradients of `instance_norm`."""
    x = _channels_first("x", x)
    return group_norm_backward(grad, x, w, b, groups=x.shape[1], eps=eps)


def layer_norm(
    x: ArrayLike, w: ArrayLike | None = None, b: ArrayLike | None = None, *, axes: int = 1, eps: float = 1e-5
) -> Array:
    """Normalizes over the last `axes` axes; w and b have the shape of those axes.

    Source: Ba, Kiros and Hinton, "Layer normalization", 2016. For images [N, C, H, W], axes = 3.
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    over = _last_axes(x, axes, w, b)
    mean, var = _moments(x, over)
    y = _affine(x, mean, 1 / np.sqrt(var + eps), None)
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
    mean, var = _moments(x, over)
    inverse_std = 1 / np.sqrt(var + eps)
    x_hat = _affine(x, mean, inverse_std, None)
    gx = _input_gradient(grad if w is None else grad * w, x_hat, inverse_std, over)
    leading = tuple(range(x.ndim - axes))
    return NormGradients(gx, (grad * x_hat).sum(axis=leading), grad.sum(axis=leading))


# --- checks ---------------------------------------------------------------------------------------------------------


def _channels_first(name: str, value: ArrayLike) -> Array:
    x = as_float(name, value)
    if x.ndim < 2:
        raise InputError(f"{name}: shape {x.shape}, expected at least two axes (N, C, ...)")
    return x


def _all_but_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _check_vectors(x: Array, **vectors: Array | None) -> None:
    _channels_first("x", x)
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
