"""Cross-entropies, written on logits so that nothing overflows and no logarithm of zero is taken.

Every loss is a scalar (0-d array), the mean over the batch unless `reduction` is "sum"; every backward function takes
the gradient of that scalar (1 for the loss itself) first.
"""

from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops.activation import log_softmax, sigmoid
from convlens.ops.arrays import as_float, as_floats

ArrayLike = Any


class LogitsGradients(NamedTuple):
    """Gradient with respect to the logits, of their shape. Targets are constants."""

    logits: np.ndarray


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    smoothing: float = 0.0,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    """-sum_c t_c log softmax(logits)_c, natural logarithm, averaged over the batch.

    Args:
        logits: [N, K], or [N, K, ...] for one decision a position.
        target: integer labels [N, ...], or probabilities of the shape of `logits` (mixup, distillation).
        smoothing: the part of each target that is spread evenly over all K classes.
        weight: [K], one factor a class. With labels the mean is then weighted by the labels' factors.
        reduction: "mean" or "sum".

    Source: Szegedy et al., 2016 (smoothing); PyTorch's conventions for weights.

    Raises:
        ValueError: shapes that do not match, or a label outside 0 to K - 1.
    """
    logits, t, n = _weighted_targets(logits, target, smoothing, weight, reduction)
    return np.asarray(-(t * log_softmax(logits, axis=1)).sum() / n, logits.dtype)


def cross_entropy_backward(
    grad: ArrayLike,
    logits: ArrayLike,
    target: ArrayLike,
    *,
    smoothing: float = 0.0,
    weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> LogitsGradients:
    """grad / n * (softmax(logits) * sum_c t_c - t): for a plain label, the famous p - y."""
    logits, t, n = _weighted_targets(logits, target, smoothing, weight, reduction)
    p = np.exp(log_softmax(logits, axis=1))
    p *= t.sum(axis=1, keepdims=True)
    p -= t
    p *= logits.dtype.type(grad) / n
    return LogitsGradients(p)


def one_hot(labels: ArrayLike, classes: int, dtype: Any = np.float32) -> np.ndarray:
    """Integer labels [N, ...] as [N, classes, ...] of zeros and a one.

    Raises:
        ValueError: labels that are no integers, or one outside 0 to classes - 1.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise InputError(f"target: an array of {labels.dtype}, expected integer labels")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise InputError(f"target: labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
    hot = np.zeros((classes, labels.size), dtype)
    hot[labels.reshape(-1), np.arange(labels.size)] = 1
    return np.moveaxis(hot.reshape(classes, *labels.shape), 0, 1)


def _weighted_targets(
    logits: ArrayLike, target: ArrayLike, smoothing: float, weight: ArrayLike | None, reduction: str
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Logits, the probabilities to be matched (smoothed, times the class weights), and what the sum is divided by."""
    logits, weight = as_floats(logits=logits, weight=weight)
    if logits.ndim < 2:
        raise InputError(f"logits: shape {logits.shape}, expected at least two axes (N, classes)")
    if not 0 <= smoothing <= 1:
        raise InputError(f"smoothing: {smoothing}, expected a part between 0 and 1")
    classes = logits.shape[1]
    if weight is not None and weight.shape != (classes,):
        raise InputError(f"weight: shape {weight.shape}, expected ({classes},), one factor a class")
    target = np.asarray(target)
    labelled = target.dtype.kind in "iu" and target.shape == (logits.shape[0], *logits.shape[2:])
    if not labelled and target.shape != logits.shape:
        raise InputError(
            f"target: shape {target.shape} of {target.dtype}, expected integer labels of shape "
            f"{(logits.shape[0], *logits.shape[2:])} or probabilities of shape {logits.shape}"
        )
    t = one_hot(target, classes, logits.dtype) if labelled else target.astype(logits.dtype)
    n: Any = t.size // classes
    column = None if weight is None else weight.reshape(1, classes, *(1,) * (logits.ndim - 2))
    if labelled and column is not None:
        n = (t * column).sum()
    if smoothing:
        t = t * (1 - smoothing) + smoothing / classes
    if column is not None:
        t = t * column
    return logits, t, 1 if _is_sum(reduction) else n


def binary_cross_entropy(
    logits: ArrayLike, target: ArrayLike, *, positive_weight: float = 1.0, reduction: str = "mean"
) -> np.ndarray:
    """-(q t log s(z) + (1 - t) log(1 - s(z))), s the sigmoid and q the weight of positives, over all elements.

    Written as (1 - t) z + (1 + (q - 1) t) * (log(1 + exp(-|z|)) + max(-z, 0)).

    Args:
        logits: z, any shape.
        target: t between 0 and 1, of that shape.
    """
    z, t = _binary(logits, target)
    softplus = np.log1p(np.exp(-np.abs(z))) + np.maximum(-z, 0)
    losses = (1 - t) * z + (1 + (positive_weight - 1) * t) * softplus
    return np.asarray(losses.sum() if _is_sum(reduction) else losses.mean(), z.dtype)


def binary_cross_entropy_backward(
    grad: ArrayLike, logits: ArrayLike, target: ArrayLike, *, positive_weight: float = 1.0, reduction: str = "mean"
) -> LogitsGradients:
    """grad / n * ((1 - t) s(z) - q t (1 - s(z))): s(z) - t for q = 1."""
    z, t = _binary(logits, target)
    s = sigmoid(z)
    n = 1 if _is_sum(reduction) else z.size
    return LogitsGradients(((1 - t) * s - positive_weight * t * (1 - s)) * (z.dtype.type(grad) / n))


def _binary(logits: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    z = as_float("logits", logits)
    t = np.asarray(target)
    if t.shape != z.shape:
        raise InputError(f"target: shape {t.shape}, expected {z.shape}, the shape of logits")
    return z, t.astype(z.dtype)


def _is_sum(reduction: str) -> bool:
    if reduction not in ("mean", "sum"):
        raise InputError(f"reduction: {reduction!r}, expected 'mean' or 'sum'")
    return reduction == "sum"
