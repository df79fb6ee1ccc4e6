"""Cross-entropies, written on logits so that nothing overflows and no logarithm of zero is taken.

Every loss is one number (a 0-d array), the mean over the batch, unless `reduction` is "sum", or "none", which gives a
loss for each decision; every backward function takes the gradient of what the loss gave (1 for one number) first.
"""

from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import real
from convlens.ops._types import Array, ArrayLike
from convlens.ops.activation import log_softmax, sigmoid
from convlens.ops.arrays import as_float, as_floats
from convlens.ops.reduction import gradient_of_each, reduced


class LogitsGradients(NamedTuple):
    """Gradient with respect to the logits, of their shape. Targets are constants."""

    logits: Array


class LogProbabilityGradients(NamedTuple):
    """Gradient with respect to the log probabilities, of their shape. Targets are constants."""

    log_probabilities: Array


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    smoothing: float = 0.0,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Array:
    """-sum_c t_c log softmax(logits)_c, natural logarithm, averaged over the batch; classes with t_c = 0 do not count.

    Args:
        logits: (N, K), or (N, K, ...) for one decision per position.
        target: integer labels (N, ...), or probabilities of the shape of `logits` (mixup, distillation).
        smoothing: the part of each target that is spread evenly over all K classes.
        weight: (K), one factor per class. With labels the mean is then weighted by the labels' factors.
        ignore_index: a label that marks decisions that do not count, such as 255 or -100 (PyTorch's default; here there
            is none, so that a wrong label is an error).
        reduction: "mean", "sum" or "none", which gives (N, ...).

    Source: Szegedy et al., 2016 (smoothing); PyTorch's conventions for weights and labels to ignore.

    Raises:
        InputError: shapes that do not match, or a label outside 0 to K - 1.
    """
    logits, t, n = _weighted_targets("logits", logits, target, smoothing, weight, ignore_index)
    return reduced(_against(t, log_softmax(logits, axis=1)), reduction, n)


def cross_entropy_backward(
    grad: ArrayLike,
    logits: ArrayLike,
    target: ArrayLike,
    *,
    smoothing: float = 0.0,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> LogitsGradients:
    """grad / n * (softmax(logits) * sum_c t_c - t): for a plain label, the famous p - y.

    For log softmax(logits)_c grows with logit k by [c = k] - p_k, and summed over c, times -t_c, that is
    p_k sum_c t_c - t_k.
    """
    logits, t, n = _weighted_targets("logits", logits, target, smoothing, weight, ignore_index)
    p = np.exp(log_softmax(logits, axis=1))
    slopes = p * t.sum(axis=1, keepdims=True) - t
    return LogitsGradients(slopes * _of_each_class(gradient_of_each(grad, t[:, 0], reduction, n)))


def nll(
    log_probabilities: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Array:
    """Negative log-likelihood: -log_probabilities at the label. After `log_softmax` it is `cross_entropy`.

    Args:
        log_probabilities: (N, K) or (N, K, ...).
        target, weight, ignore_index, reduction: as for `cross_entropy`.
    """
    z, t, n = _weighted_targets("log_probabilities", log_probabilities, target, 0, weight, ignore_index)
    return reduced(_against(t, z), reduction, n)


def nll_backward(
    grad: ArrayLike,
    log_probabilities: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> LogProbabilityGradients:
    """-t * grad / n."""
    _, t, n = _weighted_targets("log_probabilities", log_probabilities, target, 0, weight, ignore_index)
    return LogProbabilityGradients(-t * _of_each_class(gradient_of_each(grad, t[:, 0], reduction, n)))


def one_hot(labels: ArrayLike, classes: int, dtype: Any = np.float32) -> Array:
    """Integer labels (N, ...) as (N, classes, ...) of zeros and a one.

    Raises:
        InputError: labels that are no integers, or one outside 0 to classes - 1.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.ndim == 0:
        raise InputError(f"target: shape {labels.shape} of {labels.dtype}, expected integer labels (N, ...)")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise InputError(f"target: labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
    hot = np.zeros((classes, labels.size), dtype)
    hot[labels.reshape(-1), np.arange(labels.size)] = 1
    return np.moveaxis(hot.reshape(classes, *labels.shape), 0, 1)


def _against(t: Array, log_probabilities: Array) -> Array:
    """-sum_c t_c log p_c of each decision; a class that is no target does not count, were its log p -inf."""
    return -np.multiply(t, log_probabilities, out=np.zeros_like(t), where=t != 0).sum(axis=1)


def _of_each_class(grad: Array) -> Array:
    """(N, ...) as (N, 1, ...); one number stays one."""
    return grad[:, None] if grad.ndim else grad


def _weighted_targets(
    name: str, logits: ArrayLike, target: ArrayLike, smoothing: float, weight: Any, ignore_index: int | None
) -> tuple[Array, Array, Any]:
    """Logits, the probabilities to be matched (smoothed, times the class weights), and what a mean divides by."""
    logits, weight = as_floats(**{name: logits, "weight": weight})
    if logits.ndim < 2 or logits.shape[1] < 1:
        raise InputError(f"{name}: shape {logits.shape}, expected at least two axes (N, classes)")
    smoothing = real("smoothing", smoothing)
    if not 0 <= smoothing <= 1:
        raise InputError(f"smoothing: {smoothing}, expected a part between 0 and 1")
    classes = logits.shape[1]
    if weight is not None and weight.shape != (classes,):
        raise InputError(f"weight: shape {weight.shape}, expected ({classes},), one factor per class")
    factors = np.ones((), logits.dtype) if weight is None else weight.reshape(1, classes, *(1,) * (logits.ndim - 2))
    target, labeled = _checked_target(target, logits.shape)
    if labeled:
        t, counts = _probabilities(target, classes, ignore_index, logits.dtype)
        factors = factors * counts
        n = (t * factors).sum()
    elif ignore_index is not None:
        raise InputError(f"ignore_index: {ignore_index}, expected None where the targets are probabilities")
    else:
        t = as_float("target", target).astype(logits.dtype)
        n = t.size // classes
    if smoothing:
        t = t * (1 - smoothing) + smoothing / classes
    return logits, (t * factors).astype(logits.dtype), n


def _probabilities(target: Any, classes: int, ignore_index: int | None, dtype: Any) -> tuple[Array, Array]:
    """Labels (N, ...) as probabilities (N, classes, ...), and 1 for each decision that counts, else 0 (N, 1, ...)."""
    counts = np.ones((), dtype)
    if ignore_index is not None:
        counts = (target != ignore_index).astype(dtype)[:, None]
        target = np.where(target == ignore_index, 0, target)  # any label will do
    return one_hot(target, classes, dtype), counts


def _checked_target(target: ArrayLike, shape: tuple[int, ...]) -> tuple[Array, bool]:
    """The target, and whether it is labels (not probabilities)."""
    target = np.asarray(target)
    positions = (shape[0], *shape[2:])
    labeled = target.dtype.kind in "iu" and target.shape == positions
    if not labeled and target.shape != shape:
        raise InputError(
            f"target: shape {target.shape} of {target.dtype}, expected integer labels of shape {positions} "
            f"or probabilities of shape {shape}"
        )
    return target, labeled


def binary_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    positive_weight: ArrayLike = 1.0,
    weight: ArrayLike = 1.0,
    reduction: str = "mean",
) -> Array:
    """-w (q t log s(z) + (1 - t) log(1 - s(z))), s the sigmoid and q the weight of positives, over all elements.

    Written as w ((1 - t) z + (1 + (q - 1) t) * (log(1 + exp(-|z|)) + max(-z, 0))).

    Args:
        logits: z, any shape.
        target: t between 0 and 1, of that shape.
        positive_weight, weight: q and w, one number or an array that is broadcast to that shape: (K,) for (N, K)
            weighs each class. PyTorch calls the first `pos_weight`.
        reduction: "mean" (over all elements, whatever their weights), "sum" or "none".
    """
    z, t, q, w = _binary(logits, target, positive_weight, weight)
    softplus = np.log1p(np.exp(-np.abs(z))) + np.maximum(-z, 0)
    return reduced(w * ((1 - t) * z + (1 + (q - 1) * t) * softplus), reduction)


def binary_cross_entropy_backward(
    grad: ArrayLike,
    logits: ArrayLike,
    target: ArrayLike,
    *,
    positive_weight: ArrayLike = 1.0,
    weight: ArrayLike = 1.0,
    reduction: str = "mean",
) -> LogitsGradients:
    """grad / n * w ((1 - t) s(z) - q t (1 - s(z))): s(z) - t for q = w = 1."""
    z, t, q, w = _binary(logits, target, positive_weight, weight)
    s = sigmoid(z)
    slopes = w * ((1 - t) * s - q * t * (1 - s))
    return LogitsGradients(np.asarray(slopes * gradient_of_each(grad, z, reduction)))


def _binary(logits: ArrayLike, target: ArrayLike, q: ArrayLike, w: ArrayLike) -> tuple[Array, Array, Array, Array]:
    z = as_float("logits", logits)
    t = as_float("target", target)
    if t.shape != z.shape:
        raise InputError(f"target: shape {t.shape}, expected {z.shape}, the shape of logits")
    factors = []
    for name, value in (("positive_weight", q), ("weight", w)):
        factor = as_float(name, value).astype(z.dtype)
        try:
            factors.append(np.broadcast_to(factor, z.shape))
        except ValueError:
            raise InputError(f"{name}: shape {factor.shape} cannot be broadcast to {z.shape}, that of logits") from None
    return z, t.astype(z.dtype), *factors
