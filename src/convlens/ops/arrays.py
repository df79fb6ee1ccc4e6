"""Operands as float arrays of one type and fitting shapes. Each error is one line: what is wrong, what was expected."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._types import Array, ArrayLike

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def as_float(name: str, value: Any) -> Array:
    """A single operand as float32 or float64; see `as_floats`."""
    return as_floats(**{name: value})[0]


def as_floats(**named: Any) -> tuple[Array, ...]:
    """The operands in one common float type, in the order given; None stays None. Nothing is copied without need.

    The common type is that of the float operands (float64 if both occur); integers and booleans are converted to it,
    or to float64 if there is no float operand. As in PyTorch, an array without axes does not widen one that has axes,
    and a plain Python number widens neither: a float32 array plus 0.5 stays float32.

    Raises:
        InputError: an operand is neither float32, float64, integer nor boolean, or no array at all.
    """
    if alike(named.values()):
        return tuple(named.values())
    given = {name: _array(name, value) for name, value in named.items() if value is not None}
    floats = [(_rank(a, named[name]), a.dtype) for name, a in given.items() if a.dtype.kind == "f"]
    highest = min((rank for rank, _ in floats), default=None)
    common = np.result_type(*(dtype for rank, dtype in floats if rank == highest)) if floats else np.float64
    return tuple(given[name].astype(common, copy=False) if name in given else None for name in named)  # type: ignore[return-value]


def alike(values: Iterable[Any]) -> bool:
    """Whether all operands are arrays of one float type already: the usual case, answered in one call."""
    common = None
    for a in values:
        if a is None:
            continue
        if type(a) is not np.ndarray or a.dtype not in FLOATS or (common is not None and a.dtype != common):
            return False
        common = a.dtype
    return common is not None


def _array(name: str, value: Any) -> Array:
    """The operand as NumPy's array, of a type that is calculated with here."""
    try:
        a = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors that want a gradient
        raise InputError(f"{name}: not an array ({str(error).splitlines()[0]})") from None
    if a.dtype.kind not in "iub" and not (a.dtype.kind == "f" and a.dtype.itemsize in (4, 8)):
        raise InputError(f"{name}: dtype {a.dtype}, expected float32, float64 or integers")
    return a


def _rank(a: Array, value: Any) -> int:
    """Whose type counts first: that of arrays with axes, then of arrays without, then of Python's own numbers."""
    if a.ndim:
        return 0
    return 2 if isinstance(value, int | float) and not isinstance(value, np.generic) else 1


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
