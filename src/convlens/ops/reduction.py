"""What turns the losses of many elements into one number, and the gradient of that number back into one for each.

"mean" divides the sum by n, the number (or the sum of the weights) of the losses; "sum" only adds; "none" gives every
loss by itself. The mean of no losses is NaN, as in PyTorch.
"""

from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_float

REDUCTIONS = ("mean", "sum", "none")


def reduced(losses: Array, reduction: str, n: Any = None) -> Array:
    """The losses as one number [] or, for "none", as they are; n is what a mean divides by, their number if None."""
    if _checked(reduction) == "none":
        return np.asarray(losses)
    total = losses.sum()
    if reduction == "mean":
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.divide(total, losses.size if n is None else n)
    return np.asarray(total, losses.dtype)


def gradient_of_each(grad: ArrayLike, losses: Array, reduction: str, n: Any = None) -> Array:
    """The gradient of each loss: [], the same for all, or for "none" of the shape of the losses.

    Raises:
        InputError: `grad` has another shape than what `reduced` gives.
    """
    shape = losses.shape if _checked(reduction) == "none" else ()
    grad = as_float("grad", grad).astype(losses.dtype)
    if grad.shape != shape:
        raise InputError(f"grad: shape {grad.shape}, expected {shape}, the shape of the loss")
    if reduction != "mean":
        return grad
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(grad, losses.size if n is None else n), losses.dtype)


def _checked(reduction: str) -> str:
    if reduction not in REDUCTIONS:
        raise InputError(f"reduction: {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
    return reduction
