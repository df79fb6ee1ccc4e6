"""Whether a classifier is right as often as it says: reliability, expected calibration error, and the temperature.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017. NumPy and SciPy on the probabilities
of an evaluation.
"""

import math
from dataclasses import dataclass

import numpy as np

from convlens.classify.evaluation import Evaluation, exponentials

BINS = 15
"""Of equal width between 0 and 1, as in the paper."""

_LOWEST, _HIGHEST = 0.05, 20.0  # temperatures that are looked at
_NUMBERS = 1 << 22  # probabilities that a temperature is fitted on: of more, images at equal distances are taken


@dataclass(frozen=True)
class Bin:
    """The images whose most probable class got a probability in (low, high].

    n: how many. confidence: their mean probability. accuracy: the share that was right. Both NaN for no images.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of an evaluation can be trusted.

    bins: 15. error: the expected calibration error: the mean distance of confidence and accuracy, over the images.
    chance: the error that a perfectly calibrated network would show on so few images.
    spread: the standard deviation of confidence - accuracy for such a network.
    temperature: divides the logits, so that the loss on these images is smallest; None where no temperature between
        0.05 and 20 does that, as where every image was right.
    mended: the error with the temperature, fitted on one half of the images and measured on the other, both ways, so
        that no image is measured with a temperature that it helped to find; None without a temperature.
    """

    bins: tuple[Bin, ...]
    confidence: float
    accuracy: float
    error: float
    chance: float
    spread: float
    temperature: float | None
    mended: float | None


def calibration(evaluation: Evaluation) -> Calibration | None:
    """The calibration of an evaluation of at least two images; None for fewer."""
    probabilities, labels = evaluation.probabilities, evaluation.labels
    if len(labels) < 2:
        return None
    confidence, right = _said(probabilities, labels)
    temperature = fitted_temperature(probabilities, labels)
    return Calibration(
        bins=reliability(confidence, right),
        confidence=float(confidence.mean()),
        accuracy=evaluation.accuracy,
        error=expected_error(confidence, right),
        chance=_by_chance(confidence),
        spread=float(np.sqrt((confidence * (1 - confidence)).sum()) / len(labels)),
        temperature=temperature,
        mended=None if temperature is None else _mended(probabilities, labels),
    )


def reliability(confidence: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """confidence: float [N], the probability of the predicted class. right: bool [N]."""
    place = _places(confidence)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, confidence, BINS) / counts
        shares = np.bincount(place, right, BINS) / counts
    return tuple(Bin(k / BINS, (k + 1) / BINS, int(counts[k]), float(means[k]), float(shares[k])) for k in range(BINS))


def expected_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error: sum over the bins of n / N * |accuracy - confidence|."""
    difference = np.bincount(_places(confidence), confidence - right, BINS)
    return float(np.abs(difference).sum() / len(confidence))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """float64 [N, K]: the probabilities with the logits divided by a temperature.

    The logarithms of the probabilities are the logits but for one number an image, which the softmax does not see.
    """
    _, parts, total = exponentials(_logarithms(probabilities) / temperature)
    return parts / total


def fitted_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature with the smallest cross-entropy for probabilities [N, K] and labels [N]."""
    from scipy.optimize import minimize_scalar

    step = math.ceil(probabilities.size / _NUMBERS)
    logits, truth = _logarithms(probabilities[::step]), labels[::step]
    if (logits.argmax(axis=1) == truth).all():  # the lower the temperature, the smaller the loss
        return None

    def loss(log_temperature: float) -> float:
        z, _, total = exponentials(logits / math.exp(log_temperature))
        return float((np.log(total[:, 0]) - z[np.arange(len(z)), truth]).mean())

    bounds = (math.log(_LOWEST), math.log(_HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    if min(found.x - bounds[0], bounds[1] - found.x) < 0.01:  # it only stopped there
        return None
    return math.exp(found.x)


def _mended(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    order = np.argsort(labels, kind="stable")  # each half gets every second image of a class
    halves = np.zeros(len(labels), bool)
    halves[order[::2]] = True
    confidence, right = np.empty(len(labels)), np.empty(len(labels), bool)
    for measured in (halves, ~halves):
        temperature = fitted_temperature(probabilities[~measured], labels[~measured])
        if temperature is None:
            return None
        mended = with_temperature(probabilities[measured], temperature)
        confidence[measured], right[measured] = _said(mended, labels[measured])
    return expected_error(confidence, right)


def _by_chance(confidence: np.ndarray) -> float:
    """The error to be expected where each answer is right with exactly the probability that was given.

    In a bin the sum of (right - confidence) is then about normal with mean 0, and the mean of its magnitude
    sqrt(2 / pi) of its standard deviation.
    """
    variance = np.bincount(_places(confidence), confidence * (1 - confidence), BINS)
    return float(np.sqrt(2 / math.pi * np.maximum(variance, 0)).sum() / len(confidence))


def _said(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels


def _places(confidence: np.ndarray) -> np.ndarray:
    """The bin of each: (0, 1/15], (1/15, 2/15], ..."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    smallest = np.finfo(np.float32).smallest_subnormal
    return np.log(np.maximum(probabilities.astype(np.float64), smallest))
