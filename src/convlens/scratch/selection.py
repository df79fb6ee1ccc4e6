"""Operations of a graph that choose among elements: comparisons, maxima, indices, constants of a given shape.

Each is a forward and, where there is one, a backward function on a `Call`; `operations` puts them into its table.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.ops.arrays import unbroadcast
from convlens.scratch.operation import Array, Call, Operation

Shares = Sequence[Array | None]


def _nothing(call: Call, grad: Array) -> Shares:
    return [None] * len(call.arrays)


def _without_gradient(function: Callable[..., Any]) -> Operation:
    """Steps and truth values: their derivative is 0 wherever there is one."""
    return Operation(lambda call: np.asarray(function(*call.arrays, **call.options)), _nothing)


# --- comparisons ----------------------------------------------------------------------------------------------------

_TESTS: dict[str, Callable[..., Any]] = {
    "gt": np.greater,
    "lt": np.less,
    "ge": np.greater_equal,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
}


def _compare(call: Call) -> Array:
    """Settings: name of the comparison; other, a number, where there is one array only."""
    x, *others = call.arrays
    other = others[0] if others else call.options["other"]
    return np.asarray(_TESTS[call.options["name"]](x, other))


# --- of two, the one ------------------------------------------------------------------------------------------------


def _where(call: Call) -> Array:
    condition, a, b = call.arrays
    return np.where(condition, a, b)


def _where_backward(call: Call, grad: Array) -> Shares:
    condition, a, b = call.arrays
    zero = grad.dtype.type(0)
    taken, other = np.where(condition, grad, zero), np.where(condition, zero, grad)
    return [None, unbroadcast(taken, np.shape(a)), unbroadcast(other, np.shape(b))]


def _extreme(function: Callable[..., Any]) -> Operation:
    """The larger (smaller) of two; where they are equal, each receives half of the gradient."""

    def backward(call: Call, grad: Array) -> Shares:
        a, b = call.arrays
        half = np.where(a == b, grad / 2, grad)
        zero = grad.dtype.type(0)
        return [unbroadcast(np.where(call.output == x, half, zero), np.shape(x)) for x in (a, b)]

    return Operation(lambda call: np.asarray(function(*call.arrays)), backward)


# --- of an axis, the largest ----------------------------------------------------------------------------------------


def _reduced(function: Callable[..., Any]) -> Callable[[Call], Array]:
    def forward(call: Call) -> Array:
        x, axis, keepdims = call.arrays[0], call.options["axis"], call.options["keepdims"]
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        if any(x.shape[a] == 0 for a in axes):
            raise InputError(f"x: shape {x.shape}, there is no extreme of nothing")
        axis = None if axis is None else tuple(axes)
        return np.asarray(function(x, axis=axis, keepdims=keepdims))

    return forward


def _spread(call: Call, grad: Array) -> Shares:
    """All elements that are equal to the extreme share its gradient evenly."""
    x, axis = call.arrays[0], call.options["axis"]
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    kept = [1 if i in {a % max(x.ndim, 1) for a in axes} else n for i, n in enumerate(x.shape)]
    chosen = x == call.output.reshape(kept)
    with np.errstate(invalid="ignore"):  # where the extreme is NaN nothing is equal to it, and NaN comes back
        return [grad.reshape(kept) * chosen / chosen.sum(axis=axes, keepdims=True, dtype=grad.dtype)]


def _first(function: Callable[..., Any]) -> Operation:
    """The extreme along one axis; the first of equal elements receives the gradient."""

    def forward(call: Call) -> Array:
        x, axis = call.arrays[0], call.options["axis"]
        call.saved = np.expand_dims(function(x, axis=axis), axis)
        found = np.take_along_axis(x, call.saved, axis)
        return found if call.options["keepdims"] else found.squeeze(axis)

    def backward(call: Call, grad: Array) -> Shares:
        x, axis = call.arrays[0], call.options["axis"]
        gx = np.zeros_like(x)
        np.put_along_axis(gx, call.saved, grad.reshape(call.saved.shape), axis)
        return [gx]

    return Operation(forward, backward)


# --- elements by their indices --------------------------------------------------------------------------------------


def _places(call: Call) -> tuple[Any, ...]:
    """Settings: axes, one for each array of indices (the inputs after the first)."""
    places: list[Any] = [slice(None)] * call.arrays[0].ndim
    for axis, index in zip(call.options["axes"], call.arrays[1:], strict=True):
        places[axis] = index if index.dtype == bool else index.astype(np.int64)
    return tuple(places)


def _index_backward(call: Call, grad: Array) -> Shares:
    gx = np.zeros_like(call.arrays[0])
    np.add.at(gx, _places(call), grad)
    return [gx, *[None] * (len(call.arrays) - 1)]


def _index_put(call: Call) -> Array:
    """Inputs: the array, what is written, then the indices."""
    y = call.arrays[0].copy()
    y[_written(call)] = call.arrays[1]
    return y


def _written(call: Call) -> tuple[Any, ...]:
    return _places(Call((call.arrays[0], *call.arrays[2:]), call.options, call.mode))


def _index_put_backward(call: Call, grad: Array) -> Shares:
    places = _written(call)
    gx = grad.copy()
    gx[places] = 0
    return [gx, unbroadcast(grad[places], np.shape(call.arrays[1])), *[None] * (len(call.arrays) - 2)]


def _gather(call: Call) -> Array:
    return np.take_along_axis(call.arrays[0], _grid_index(call), call.options["axis"])


def _grid_index(call: Call) -> Array:
    return call.arrays[1].astype(np.int64)


def _gather_backward(call: Call, grad: Array) -> Shares:
    x, axis, index = call.arrays[0], call.options["axis"], _grid_index(call)
    places = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    gx = np.zeros_like(x)
    np.add.at(gx, tuple(places), grad)
    return [gx, None]


# --- constants ------------------------------------------------------------------------------------------------------


def _full(call: Call) -> Array:
    return np.full(call.options["shape"], call.options["value"], call.options["dtype"])


# --- types ----------------------------------------------------------------------------------------------------------


def _cast(call: Call) -> Array:
    return np.asarray(call.arrays[0]).astype(call.options["dtype"], copy=False)


def _cast_backward(call: Call, grad: Array) -> Shares:
    """Between floats the gradient is cast back; integers have none."""
    x = np.asarray(call.arrays[0])
    return [grad.astype(x.dtype, copy=False) if x.dtype.kind == "f" and call.output.dtype.kind == "f" else None]


SELECTION: dict[str, Operation] = {
    "compare": Operation(_compare, _nothing),
    "logical_not": _without_gradient(np.logical_not),
    **{name: _without_gradient(getattr(np, name)) for name in ("floor", "ceil", "sign", "trunc")},
    "round": _without_gradient(np.round),
    "argmax": _without_gradient(lambda x, *, axis: np.argmax(x, axis=axis)),
    "where": Operation(_where, _where_backward),
    "maximum": _extreme(np.maximum),
    "minimum": _extreme(np.minimum),
    "largest": Operation(_reduced(np.max), _spread),
    "smallest": Operation(_reduced(np.min), _spread),
    "largest_first": _first(np.argmax),
    "smallest_first": _first(np.argmin),
    "index": Operation(lambda call: call.arrays[0][_places(call)], _index_backward),
    "index_put": Operation(_index_put, _index_put_backward),
    "view": _without_gradient(lambda x, *, index: x[index]),
    "gather": Operation(_gather, _gather_backward),
    "full": Operation(_full, _nothing),
    "full_like": _without_gradient(lambda x, *, value: np.full_like(x, value)),
    "cast": Operation(_cast, _cast_backward),
}
