"""Elementwise operations a part of the batch at a time, side by side: the steps of a formula then meet a part while it
is in the processor's cache."""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import numpy as np

from convlens.ops import activation, rectifier
from convlens.ops._types import Array, Booleans
from convlens.ops.arrays import alike
from convlens.ops.dropout import dropout, dropout_backward
from convlens.ops.fast import parallel
from convlens.ops.rectifier import ActivationGradients

A_PART = 150_000  # elements


def in_parts(operation: Callable[..., Any], formula: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The drop-in of an operation whose arrays all have one shape and one type: the same on parts of these arrays.

    `formula` takes the place of the operation itself where the arguments have been found right. All that is out of
    the ordinary, errors too, is left to the operation.
    """
    plain = unwrap(operation)
    compute = formula or plain

    def drop_in(*arrays: Any, **settings: Any) -> Any:
        more = {name: value for name, value in settings.items() if isinstance(value, np.ndarray)}
        if not _alike(arrays, more):
            return plain(*arrays, **settings)
        first = arrays[0]
        parts = parallel.split(len(first), first.size, A_PART)
        if len(parts) < 2:
            return compute(*arrays, **settings)
        whole = np.empty_like(first)

        def work(part: slice, _: parallel.Workspace) -> type:
            here = compute(*(a[part] for a in arrays), **settings | {name: a[part] for name, a in more.items()})
            whole[part] = here if isinstance(here, np.ndarray) else here.x
            return type(here)

        kind = parallel.run(work, parts, first.dtype)[0]
        return whole if kind is np.ndarray else kind(whole)

    return drop_in


def _alike(arrays: tuple[Any, ...], more: dict[str, Array]) -> bool:
    """Whether there are only arrays of one float type and one shape, beside them masks of that shape."""
    floats = [*arrays, *(a for a in more.values() if a.dtype != bool)]
    if not arrays or not alike(floats) or arrays[0].ndim == 0:
        return False
    return all(a.shape == arrays[0].shape for a in (*arrays, *more.values()))


def kept(grad: Array, where: Booleans) -> Array:
    """np.where(where, grad, 0), up to ten times as fast: the bits times 1 or 0, so infinities and NaN vanish too."""
    bits = grad.view(np.int32 if grad.itemsize == 4 else np.int64)
    return (bits * where).view(grad.dtype)


def _relu_backward(grad: Array, x: Array) -> ActivationGradients:
    return ActivationGradients(kept(grad, ~(x <= 0)))


def _clamp_backward(
    grad: Array, x: Array, *, low: float | None = None, high: float | None = None, closed: bool = True
) -> ActivationGradients:
    return ActivationGradients(kept(grad, ~rectifier.outside(x, low, high, closed)))


def _masked(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Dropout with a mask at hand; drawing one is left to the plain form."""
    plain, parts = unwrap(operation), in_parts(operation)

    def drop_in(x: Any, *gradient_of: Any, mask: Any = None, **settings: Any) -> Any:
        try:
            mask = mask if mask is None else np.broadcast_to(mask, x.shape)
        except (ValueError, AttributeError):
            return plain(x, *gradient_of, mask=mask, **settings)  # which says what is wrong
        return (plain if mask is None else parts)(x, *gradient_of, mask=mask, **settings)

    return drop_in


_PAIRS = {
    rectifier: ("relu", "threshold", "leaky_relu", "elu", "selu", "celu", "clamp"),
    activation: ("sigmoid", "tanh", "silu", "softplus", "log_sigmoid", "mish", "gelu"),
}
_OPERATIONS = [
    getattr(room, name + end) for room, names in _PAIRS.items() for name in names for end in ("", "_backward")
]
DROP_INS = {
    **{operation.__name__: in_parts(operation) for operation in _OPERATIONS},
    "relu_backward": in_parts(rectifier.relu_backward, _relu_backward),
    "clamp_backward": in_parts(rectifier.clamp_backward, _clamp_backward),
    "dropout": _masked(dropout),
    "dropout_backward": _masked(dropout_backward),
}
