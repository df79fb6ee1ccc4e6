"""The dense layer."""

from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._switch import replaceable
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_floats, check_same_shape, unbroadcast


class LinearGradients(NamedTuple):
    """Gradients with respect to the arguments, each of its argument's shape; `x` is None where it was not wanted."""

    x: Array | None
    w: Array
    b: Array


@replaceable
def linear(x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None) -> Array:
    """y = x W^T + b.

    Args:
        x: (..., features); all leading axes are positions that share the weights.
        w: (outputs, features), PyTorch's order (Keras stores the transpose).
        b: (outputs).

    Returns:
        (..., outputs).
    """
    x, w, b = as_floats(x=x, w=w, b=b)
    _check(x, w, b)
    y = np.asarray(x @ w.T)
    return y if b is None else y + b


@replaceable
def linear_backward(grad: ArrayLike, x: ArrayLike, w: ArrayLike, *, need_x: bool = True) -> LinearGradients:
    """Gradients grad W, grad^T x and the sum of grad over all positions.

    Args:
        grad: (..., outputs).
        need_x: False saves the first of the two matrix products.
    """
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    _check(x, w, None)
    check_same_shape(grad, (*x.shape[:-1], w.shape[0]))
    rows = grad.reshape(-1, w.shape[0])
    gx = grad @ w if need_x else None
    return LinearGradients(gx, rows.T @ x.reshape(-1, w.shape[1]), rows.sum(axis=0))


def _check(x: Array, w: Array, b: Array | None) -> None:
    if w.ndim != 2:
        raise InputError(f"w: shape {w.shape}, expected two axes (outputs, features)")
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        raise InputError(f"x: shape {x.shape}, expected (..., {w.shape[1]}) as w has shape {w.shape}")
    if b is not None and b.shape != w.shape[:1]:
        raise InputError(f"b: shape {b.shape}, expected {w.shape[:1]}, one number per output")


class MatmulGradients(NamedTuple):
    """Gradients with respect to the two factors."""

    a: Array
    b: Array


def matmul(a: ArrayLike, b: ArrayLike) -> Array:
    """Matrix product of the last two axes, (..., n, k) @ (..., k, m) -> (..., n, m); leading axes are broadcast.

    A vector (k) is a row on the left and a column on the right; its axis is left out of the result.
    """
    a, b = as_floats(a=a, b=b)
    _matrices(a, b)  # checks
    return np.asarray(a @ b)


def matmul_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> MatmulGradients:
    """grad b^T and a^T grad, summed over broadcast axes."""
    grad, a, b = as_floats(grad=grad, a=a, b=b)
    rows, columns, left_out = _matrices(a, b)
    check_same_shape(grad, np.shape(a @ b))
    grad = np.expand_dims(grad, left_out)
    ga, gb = grad @ np.swapaxes(columns, -1, -2), np.swapaxes(rows, -1, -2) @ grad
    return MatmulGradients(
        unbroadcast(ga, rows.shape).reshape(a.shape), unbroadcast(gb, columns.shape).reshape(b.shape)
    )


def _matrices(a: Array, b: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """Both as matrices, and which of the product's axes (-2: rows, -1: columns) are left out for vectors."""
    rows, columns = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    if a.ndim < 1 or b.ndim < 1 or rows.shape[-1] != columns.shape[-2]:
        k = a.shape[-1] if a.ndim else "?"
        raise InputError(f"b: shape {b.shape}, expected (..., {k}, m) beside an a of shape {a.shape}")
    try:
        np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    except ValueError:
        raise InputError(f"b: shape {b.shape}, expected leading axes that broadcast with a's {a.shape}") from None
    return rows, columns, (-2,) * (a.ndim == 1) + (-1,) * (b.ndim == 1)
