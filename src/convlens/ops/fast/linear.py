"""The dense layer with its small matrix products on one thread."""

from inspect import unwrap
from typing import Any

import numpy as np

from convlens.ops._types import Array
from convlens.ops.fast.parallel import products_of
from convlens.ops.linear import LinearGradients
from convlens.ops.linear import linear as plain_linear
from convlens.ops.linear import linear_backward as plain_linear_backward


def linear(x: Any, w: Any, b: Any = None) -> Array:
    """See `ops.linear`."""
    with products_of(_macs(x, w)):
        return unwrap(plain_linear)(x, w, b)


def linear_backward(grad: Any, x: Any, w: Any, *, need_x: bool = True) -> LinearGradients:
    """See `ops.linear_backward`."""
    with products_of(_macs(x, w)):
        return unwrap(plain_linear_backward)(grad, x, w, need_x=need_x)


def _macs(x: Any, w: Any) -> int:
    """Multiply-accumulates of each of the products; 0 if that is still to be found out."""
    return x.size * len(w) if isinstance(x, np.ndarray) and isinstance(w, np.ndarray) and w.ndim else 0
