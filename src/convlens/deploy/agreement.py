"""Whether an exported network answers as the classifier does: at several sizes of batch, to rounding."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from convlens.base.errors import InputError

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier

BATCHES = (1, 3, 32)
TOLERANCE = 1e-4
"""Largest difference of a logit from PyTorch's, relative to the largest logit."""

LIMIT = 0.003
"""Largest loss of accuracy by 8 bits, as a fraction of the validation images."""


def compare(
    classifier: "Classifier",
    other: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    tolerance: float | None = TOLERANCE,
) -> float:
    """The largest difference of a logit, relative to the largest logit of its batch, in batches of 1, 3 and 32.

    other: gives logits float32 [n, K] of prepared pixels uint8 [n, H, W, C], of which `images` holds at least one.
    tolerance: None allows any difference of finite numbers.
    Raises `InputError` where it exceeds `tolerance`, or where the likeliest class is another one.
    """
    worst = 0.0
    for size in BATCHES:
        pixels = images[np.arange(size) % len(images)]
        worst = max(worst, _difference(classifier.logits(pixels), other(pixels), size, tolerance))
    return worst


def _difference(expected: np.ndarray, found: np.ndarray, size: int, tolerance: float | None) -> float:
    if not np.isfinite(expected).all():
        raise InputError("the network's own outputs are not finite, so that nothing can be compared with them")
    scale = float(np.abs(expected).max()) or 1.0
    worst = float(np.abs(expected - found).max()) / scale
    if tolerance is None and np.isfinite(worst):
        return worst
    tolerance = TOLERANCE if tolerance is None else tolerance
    if not worst <= tolerance:
        raise InputError(
            f"in a batch of {size}, its outputs differ from PyTorch's by {worst:.2g} of the largest; "
            f"up to {tolerance:g} is rounding"
        )
    best = np.take_along_axis(expected, expected.argmax(1)[:, None], 1)
    ours = np.take_along_axis(expected, found.argmax(1)[:, None], 1)
    if (best - ours > 2 * tolerance * scale).any():
        raise InputError(f"in a batch of {size}, its likeliest class is another one than PyTorch's")
    return worst
