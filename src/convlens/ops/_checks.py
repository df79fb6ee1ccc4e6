"""Checks of sizes and settings that all operations share; those of arrays stand in `arrays`.

Each error is one line: the argument, its value, what was expected.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.geometry import effective_kernel, resolve_padding
from convlens.ops._types import Array


def dimensions(name: str, a: Array, axes: str) -> tuple[int, ...]:
    """The shape of an array whose axes have these names ("N C H W"); all but N must be positive.

    Raises:
        InputError: another number of axes, or an empty one.
    """
    names = axes.split()
    if a.ndim != len(names):
        raise InputError(f"{name}: shape {a.shape} has {a.ndim} axes, expected {len(names)}: ({', '.join(names)})")
    for axis, n in zip(names, a.shape, strict=True):
        if n < 1 and axis != "N":
            raise InputError(f"{name}: shape {a.shape} is empty along {axis}, expected a size of at least 1")
    return a.shape


def expect_shape(name: str, a: Array, shape: tuple[int, ...]) -> None:
    """Raises InputError unless the array has exactly this shape."""
    if a.shape != shape:
        raise InputError(f"{name}: shape {a.shape}, expected {shape}")


def whole(name: str, value: Any, least: int) -> int:
    """An integer not below `least` (NumPy integers count, booleans do not)."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}: {value!r}, expected an integer of at least {least}")
    return int(value)


def real(name: str, value: Any) -> float:
    """A setting that is one real number, as a plain float: NumPy's own scalars would widen float32."""
    try:
        number = np.asarray(value)
        if number.ndim == 0 and number.dtype.kind in "iufb":
            return float(number)
    except ValueError:
        pass
    raise InputError(f"{name}: {value!r}, expected a number")


def resolve_axis(name: str, axis: Any, ndim: int) -> int:
    """An axis counted from the front. A single number (ndim 0) counts as having one axis, as in PyTorch."""
    axis, n = whole(name, axis, -(2**62)), max(ndim, 1)
    if not -n <= axis < n:
        raise InputError(f"{name}: {axis}, expected {-n} to {n - 1} for an array with {ndim} axes")
    return axis % n


def resolve_axes(name: str, axes: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, each at most once; None is all of them."""
    if axes is None:
        return tuple(range(ndim))
    found = tuple(resolve_axis(name, axis, ndim) for axis in (axes if isinstance(axes, list | tuple) else [axes]))
    if len(set(found)) < len(found):
        raise InputError(f"{name}: {axes!r}, expected each axis at most once")
    return found if ndim else ()


def per_axis(name: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """One integer for all spatial axes, or one for each."""
    if isinstance(value, list | tuple) and len(value) in (1, axes):
        return tuple(whole(name, v, least) for v in value) * (axes // len(value))
    if isinstance(value, list | tuple):
        raise InputError(f"{name}: {value!r}, expected one integer or {axes} of them")
    return (whole(name, value, least),) * axes


def sides(
    padding: Any, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """The padding of each spatial axis as (before, after).

    `padding` is one integer; one for each axis; (before, after) of each axis in turn, so (top, bottom, left, right)
    for images and (before, after) for sequences; "same" (TensorFlow's: output size ceil(n / stride)); or "valid".
    """
    axes = len(size)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise InputError(f"padding: {padding!r}, expected 'same', 'valid' or integers")
        return tuple(
            resolve_padding(padding, n, k, s, d)  # type: ignore[arg-type]
            for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        )
    if isinstance(padding, list | tuple) and len(padding) == 2 * axes:
        cells = [whole("padding", p, 0) for p in padding]
        return tuple((cells[2 * a], cells[2 * a + 1]) for a in range(axes))
    if isinstance(padding, list | tuple) and len(padding) not in (1, axes):
        raise InputError(f"padding: {padding!r}, expected 'same', 'valid', 1, {axes} or {2 * axes} integers")
    return tuple((p, p) for p in per_axis("padding", padding, axes, least=0))


def kernel_fits(
    name: str, size: Sequence[int], kernel: Sequence[int], padding: Sequence[tuple[int, int]], dilation: Sequence[int]
) -> None:
    """Raises InputError if the (dilated) kernel is larger than the padded input along an axis."""
    for axis, (n, k, (before, after), d) in enumerate(zip(size, kernel, padding, dilation, strict=True)):
        if effective_kernel(k, d) > n + before + after:
            raise InputError(
                f"{name}: kernel {tuple(kernel)} with dilation {tuple(dilation)} spans {effective_kernel(k, d)} cells "
                f"along spatial axis {axis}, expected at most the padded input's {before} + {n} + {after}"
            )


def grouped(groups: Any, in_channels: int, out_channels: int) -> int:
    """The number of groups, which must divide both numbers of channels."""
    groups = whole("groups", groups, 1)
    if in_channels % groups or out_channels % groups:
        raise InputError(
            f"groups: {groups}, expected a divisor of both {in_channels} input and {out_channels} output channels"
        )
    return groups
