"""What the operations without windows do with their arguments. `_checks.arrays` converts, and says how."""

from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import arrays as as_floats
from convlens.ops._types import Array, ArrayLike

__all__ = ["as_float", "as_floats", "channel_shape", "check_same_shape", "checked", "unbroadcast"]


def as_float(name: str, value: Any) -> Array:
    """A single argument as float32 or float64; see `_checks.arrays`."""
    return as_floats(**{name: value})[0]


def check_same_shape(grad: Array, shape: tuple[int, ...], of: str = "the output") -> None:
    """Raises `InputError` unless the incoming gradient has the shape of the output."""
    if grad.shape != tuple(shape):
        raise InputError(f"grad: shape {grad.shape}, expected {tuple(shape)}, the shape of {of}")


def checked(grad: ArrayLike, x: ArrayLike) -> tuple[Array, Array]:
    """The gradient of an elementwise operation and its input in one type; `InputError` unless they have one shape."""
    grad, x = as_floats(grad=grad, x=x)
    check_same_shape(grad, x.shape)
    return grad, x


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sums a gradient over the axes along which an operand of `shape` was repeated by broadcasting."""
    extra = grad.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + axis for axis, size in enumerate(shape) if size == 1 and grad.shape[extra + axis] != 1
    )
    return grad.sum(axis=axes, keepdims=True).reshape(shape) if axes else np.asarray(grad)


def channel_shape(ndim: int, channels: int) -> tuple[int, ...]:
    """The shape that lines a vector of one number per channel up with (N, C, ...)."""
    return (1, channels) + (1,) * (ndim - 2)
