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


def compare(classifier: "Classifier", other: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """The largest difference of a logit, relative to the largest logit of its batch, in batches of 1, 3 and 32.

    other: gives logits float32 [n, K] of prepared pixels uint8 [n, H, W, C], of which `images` holds at least one.
    Raises `InputError` where it exceeds `TOLERANCE`, or where the likeliest class is another one.
    """
    worst = 0.0
    for size in BATCHES:
        pixels = images[np.arange(size) % len(images)]
        worst = max(worst, _difference(classifier.logits(pixels), other(pixels), size))
    return worst


def _difference(expected: np.ndarray, found: np.ndarray, size: int) -> float:
    scale = float(np.abs(expected).max()) or 1.0
    worst = float(np.abs(expected - found).max()) / scale
    if not worst <= TOLERANCE:
        raise InputError(
            f"in a batch of {size}, its outputs differ from PyTorch's by {worst:.2g} of the largest; "
            f"up to {TOLERANCE:g} is rounding"
        )
    best = np.take_along_axis(expected, expected.argmax(1)[:, None], 1)
    ours = np.take_along_axis(expected, found.argmax(1)[:, None], 1)
    if (best - ours > 2 * TOLERANCE * scale).any():
        raise InputError(f"in a batch of {size}, its likeliest class is another one than PyTorch's")
    return worst
