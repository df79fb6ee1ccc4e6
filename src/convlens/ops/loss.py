"""Losses of a prediction p against a target t (a constant), for regression, margins and distributions.

Every loss is one number (a 0-d array). Elementwise losses are averaged over all elements; those of a whole vector
(cosine, KL, categorical hinge) are taken along the last axis and averaged over the rest; reduction="sum" adds instead,
"none" gives each loss. Every backward function takes the gradient of what the loss gave (1 for one number) first.
Source of the definitions: PyTorch where it has the loss, else Keras 3.
"""

from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import real
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_floats
from convlens.ops.reduction import gradient_of_each, reduced


class LossGradients(NamedTuple):
    """Gradient with respect to the prediction, of its shape."""

    prediction: Array


def _pair(prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    p, t = as_floats(prediction=prediction, target=target)
    if p.shape != t.shape:
        raise InputError(f"target: shape {t.shape}, expected {p.shape}, the shape of prediction")
    return p, t


def _vectors(prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """For losses of whole vectors, which lie along the last axis."""
    p, t = _pair(prediction, target)
    if p.ndim == 0 or p.shape[-1] == 0:
        raise InputError(f"prediction: shape {p.shape}, expected vectors along the last axis")
    return p, t


def _gradient(grad: ArrayLike, slopes: Array, reduction: str) -> LossGradients:
    """The slope of each elementwise loss times its gradient."""
    return LossGradients(np.asarray(slopes * gradient_of_each(grad, slopes, reduction)))


def _vector_gradient(grad: ArrayLike, slopes: Array, reduction: str) -> LossGradients:
    """The slopes of each vector's loss times that loss's gradient."""
    each = gradient_of_each(grad, slopes[..., 0], reduction)
    return LossGradients(slopes * (each[..., None] if each.ndim else each))


# --- regression -----------------------------------------------------------------------------------------------------


def mse(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Mean squared error: (p - t)^2."""
    p, t = _pair(prediction, target)
    return reduced((p - t) ** 2, reduction)


def mse_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> LossGradients:
    """2 (p - t)."""
    p, t = _pair(prediction, target)
    return _gradient(grad, 2 * (p - t), reduction)


def mae(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Mean absolute error: |p - t|."""
    p, t = _pair(prediction, target)
    return reduced(np.abs(p - t), reduction)


def mae_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> LossGradients:
    """sign(p - t), 0 where they are equal."""
    p, t = _pair(prediction, target)
    return _gradient(grad, np.sign(p - t), reduction)


def huber(prediction: ArrayLike, target: ArrayLike, *, delta: float = 1.0, reduction: str = "mean") -> Array:
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with d = p - t. Source: Huber, 1964."""
    p, t = _pair(prediction, target)
    size, delta = np.abs(p - t), _positive("delta", delta)
    return reduced(np.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta)), reduction)


def huber_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, delta: float = 1.0, reduction: str = "mean"
) -> LossGradients:
    """d, clipped to -delta ... delta."""
    p, t = _pair(prediction, target)
    delta = _positive("delta", delta)
    return _gradient(grad, np.clip(p - t, -delta, delta), reduction)


def smooth_l1(prediction: ArrayLike, target: ArrayLike, *, beta: float = 1.0, reduction: str = "mean") -> Array:
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, with d = p - t: the Huber loss divided by beta.

    beta = 0 is `mae`. Source: Girshick, "Fast R-CNN", 2015.
    """
    if real("beta", beta) == 0:
        return mae(prediction, target, reduction=reduction)
    return np.asarray(huber(prediction, target, delta=_positive("beta", beta), reduction=reduction) / float(beta))


def smooth_l1_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, beta: float = 1.0, reduction: str = "mean"
) -> LossGradients:
    """d / beta where |d| < beta, else sign(d)."""
    if real("beta", beta) == 0:
        return mae_backward(grad, prediction, target, reduction=reduction)
    slopes = huber_backward(grad, prediction, target, delta=_positive("beta", beta), reduction=reduction).prediction
    return LossGradients(np.asarray(slopes / float(beta)))


def _positive(name: str, value: float) -> float:
    if not real(name, value) > 0:
        raise InputError(f"{name}: {value}, expected a positive number")
    return real(name, value)


def log_cosh(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """log cosh(p - t), written as |d| + log(1 + exp(-2 |d|)) - log 2."""
    p, t = _pair(prediction, target)
    size = np.abs(p - t)
    return reduced(size + np.log1p(np.exp(-2 * size)) - np.log(2).astype(p.dtype), reduction)


def log_cosh_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> LossGradients:
    """tanh(p - t)."""
    p, t = _pair(prediction, target)
    return _gradient(grad, np.tanh(p - t), reduction)


def mape(prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-7, reduction: str = "mean") -> Array:
    """Mean absolute percentage error: 100 |p - t| / max(|t|, eps)."""
    p, t = _pair(prediction, target)
    return reduced(100 * np.abs(p - t) / np.maximum(np.abs(t), real("eps", eps)), reduction)


def mape_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-7, reduction: str = "mean"
) -> LossGradients:
    """100 sign(p - t) / max(|t|, eps)."""
    p, t = _pair(prediction, target)
    return _gradient(grad, 100 * np.sign(p - t) / np.maximum(np.abs(t), real("eps", eps)), reduction)


def msle(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """Mean squared logarithmic error: (log(1 + p) - log(1 + t))^2; negative values count as 0."""
    p, t = _pair(prediction, target)
    return reduced((np.log1p(np.maximum(p, 0)) - np.log1p(np.maximum(t, 0))) ** 2, reduction)


def msle_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> LossGradients:
    """2 (log(1 + p) - log(1 + t)) / (1 + p), 0 for negative p."""
    p, t = _pair(prediction, target)
    kept = np.maximum(p, 0)
    slopes = 2 * (np.log1p(kept) - np.log1p(np.maximum(t, 0))) / (1 + kept) * (p > 0)
    return _gradient(grad, slopes, reduction)


def poisson(prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-7, reduction: str = "mean") -> Array:
    """p - t log(p + eps): the negative log-likelihood of counts t at rate p >= 0, without the constant log t!."""
    p, t = _pair(prediction, target)
    return reduced(p - t * np.log(p + real("eps", eps)), reduction)


def poisson_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-7, reduction: str = "mean"
) -> LossGradients:
    """1 - t / (p + eps)."""
    p, t = _pair(prediction, target)
    return _gradient(grad, 1 - t / (p + real("eps", eps)), reduction)


# --- margins --------------------------------------------------------------------------------------------------------


def hinge(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """max(1 - t p, 0), targets -1 and 1. Source: Cortes and Vapnik, 1995."""
    p, t = _pair(prediction, target)
    return reduced(np.maximum(1 - t * p, 0), reduction)


def hinge_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> LossGradients:
    """-t inside the margin, 0 outside."""
    p, t = _pair(prediction, target)
    return _gradient(grad, -t * (t * p < 1), reduction)


def squared_hinge(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """max(1 - t p, 0)^2, targets -1 and 1."""
    p, t = _pair(prediction, target)
    return reduced(np.maximum(1 - t * p, 0) ** 2, reduction)


def squared_hinge_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> LossGradients:
    """-2 t max(1 - t p, 0)."""
    p, t = _pair(prediction, target)
    return _gradient(grad, -2 * t * np.maximum(1 - t * p, 0), reduction)


def categorical_hinge(prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean") -> Array:
    """max(max_c((1 - t_c) p_c) - sum_c t_c p_c + 1, 0) along the last axis; targets are one-hot (..., K)."""
    p, t = _vectors(prediction, target)
    return reduced(np.maximum(_categorical_margin(p, t), 0), reduction)


def categorical_hinge_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, reduction: str = "mean"
) -> LossGradients:
    """Inside the margin: 1 - t at the (first) best wrong class, and -t everywhere."""
    p, t = _vectors(prediction, target)
    inside = (_categorical_margin(p, t) > 0)[..., None]
    best = ((1 - t) * p).argmax(axis=-1)[..., None]
    slopes = -t.copy()
    np.put_along_axis(slopes, best, np.take_along_axis(slopes + 1 - t, best, -1), -1)
    return _vector_gradient(grad, slopes * inside, reduction)


def _categorical_margin(p: Array, t: Array) -> Array:
    return ((1 - t) * p).max(axis=-1) - (t * p).sum(axis=-1) + 1


# --- distributions and directions -----------------------------------------------------------------------------------


def kl_divergence(prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-7, reduction: str = "mean") -> Array:
    """sum_c t_c log(t_c / p_c) along the last axis; both are probabilities, kept between eps and 1.

    Source: Kullback and Leibler, 1951.
    """
    p, t = (np.clip(a, real("eps", eps), 1) for a in _vectors(prediction, target))
    return reduced((t * np.log(t / p)).sum(axis=-1), reduction)


def kl_divergence_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-7, reduction: str = "mean"
) -> LossGradients:
    """-t / p, 0 where p was clipped."""
    p, t = _vectors(prediction, target)
    eps = real("eps", eps)
    slopes = -np.clip(t, eps, 1) / np.clip(p, eps, 1) * ((p >= eps) & (p <= 1))
    return _vector_gradient(grad, slopes, reduction)


def cosine(prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-8, reduction: str = "mean") -> Array:
    """1 - p.t / (max(|p|, eps) max(|t|, eps)) along the last axis. (Keras leaves the 1 out.)"""
    p, t = _vectors(prediction, target)
    return reduced(1 - (_unit(p, eps)[0] * _unit(t, eps)[0]).sum(axis=-1), reduction)


def cosine_backward(
    grad: ArrayLike, prediction: ArrayLike, target: ArrayLike, *, eps: float = 1e-8, reduction: str = "mean"
) -> LossGradients:
    """-(t_unit - p_unit (p_unit . t_unit)) / |p|: only turning p changes the loss."""
    p, t = _vectors(prediction, target)
    (u, length), (v, _) = _unit(p, eps), _unit(t, eps)
    along = (u * v).sum(axis=-1, keepdims=True) * (length > eps)
    return _vector_gradient(grad, (u * along - v) / length, reduction)


def _unit(x: Array, eps: float) -> tuple[Array, Array]:
    """x divided by its length along the last axis, and that length (at least eps)."""
    length = np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), x.dtype.type(eps))
    return x / length, length
