"""Batch normalization: in training with the statistics of the batch, in inference with running ones.

The formula and its gradient are derived in `normalization`.
"""

from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_floats, channel_shape, check_same_shape
from convlens.ops.normalization import (
    NormGradients,
    all_but_channels,
    channels_first,
    check_vectors,
    moments,
    shifted_and_scaled,
)


class Statistics(NamedTuple):
    """Mean and population variance of each channel, both (C)."""

    mean: Array
    var: Array


def batch_statistics(x: ArrayLike) -> Statistics:
    """Mean and population variance of each channel of x (N, C, ...) over all other axes."""
    x = channels_first("x", x)
    if not x.size:
        raise InputError(f"x: shape {x.shape}, expected at least one number per channel to take the mean of")
    mean, var = moments(x, all_but_channels(x))
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
        x: (N, C, ...).
        w: scale (C), ones if left out (gamma).
        b: shift (C), zeros if left out (beta).
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
    shape, n = channel_shape(x.ndim, x.shape[1]), x.size // x.shape[1]
    inverse_std = 1 / np.sqrt(var + eps)
    x_hat = shifted_and_scaled(x, mean.reshape(shape), inverse_std.reshape(shape))
    gw, gb = _channel_dots(grad, x_hat), grad.sum(axis=all_but_channels(x))
    # These are the sums behind the two means of the formula: mean(g) = w gb / n, mean(g x_hat) = w gw / n.
    gx = np.multiply(x_hat, (gw / -n).reshape(shape), out=x_hat)  # x_hat has done its work
    gx += grad
    gx -= (gb / n).reshape(shape)
    gx *= (inverse_std if w is None else inverse_std * w).reshape(shape)
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
    """Inference: each channel is normalized with the given (running) mean and variance, both (C)."""
    x, mean, var, w, b = as_floats(x=x, mean=mean, var=var, w=w, b=b)
    check_vectors(x, mean=mean, var=var, w=w, b=b)
    shape = channel_shape(x.ndim, x.shape[1])
    factor = 1 / np.sqrt(var + eps)
    if w is not None:
        factor = factor * w
    y = shifted_and_scaled(x, mean.reshape(shape), factor.reshape(shape))
    if b is not None:
        y += b.reshape(shape)
    return y


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
    shape, axes = channel_shape(x.ndim, x.shape[1]), all_but_channels(x)
    inverse_std = 1 / np.sqrt(var + eps)
    x_hat = shifted_and_scaled(x, mean.reshape(shape), inverse_std.reshape(shape))
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


def _channel_dots(a: Array, b: Array) -> Array:
    """The sum of a * b over all axes but the channels, without storing the product."""
    axes = "nchwdt"[: a.ndim]
    return np.einsum(f"{axes},{axes}->c", a, b)
