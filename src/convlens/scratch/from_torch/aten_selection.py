"""Comparisons, choices, extremes and indices of an exported program as nodes of a graph; see `aten`."""

from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.scratch.from_torch.translation import Arguments, Builder, Handler, Missing, Out, cast, numbers

Array = np.ndarray


def compare(name: str) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        if isinstance(a["other"], Out):
            return g.emit("compare", [a["self"], a["other"]], name=name)
        return g.emit("compare", [a["self"]], name=name, other=a["other"])

    return handler


def step(op: str) -> Handler:
    """Functions of one array that are constant between their jumps."""

    def handler(g: Builder, a: Arguments) -> Out:
        if a.get("decimals"):
            raise InputError("rounding to decimals is not supported")
        return g.emit(op, [a["self"]])

    return handler


def where(g: Builder, a: Arguments) -> Out:
    if "self" not in a:
        raise InputError("the places of a condition (where with one argument) are not supported")
    return g.emit("where", [a["condition"], *(_operand(g, a[key]) for key in ("self", "other"))])


def masked_fill(g: Builder, a: Arguments) -> Out:
    return g.emit("where", [a["mask"], _operand(g, a["value"], a["self"].dtype), _operand(g, a["self"])])


def _operand(g: Builder, value: Any, dtype: str = "") -> Out:
    """A tensor, or a number, in the type of the result."""
    dtype = dtype or g.result_dtype
    if isinstance(value, Out):
        return cast(g, value, dtype)
    return constant(g, value, dtype)


def constant(g: Builder, value: Any, dtype: str) -> Out:
    """One number as an array."""
    return g.constant(np.asarray(value, "float32" if dtype in ("float16", "bfloat16") else dtype))


def pair(op: str) -> Handler:
    """The larger or the smaller of two."""
    return lambda g, a: g.emit(op, [a["self"], a["other"]])


def extreme(op: str) -> Handler:
    """amax and amin: equal elements share the gradient."""

    def handler(g: Builder, a: Arguments) -> Out:
        axes = numbers(a.get("dim"))
        return g.emit(op, [a["self"]], axis=axes if axes != () else None, keepdims=bool(a.get("keepdim", False)))

    return handler


def extreme_or_pair(word: str) -> Handler:
    """max and min: of two tensors, of all elements, or along one axis together with the indices."""
    spread, pairwise = ("largest", "maximum") if word == "max" else ("smallest", "minimum")

    def handler(g: Builder, a: Arguments) -> Any:
        if isinstance(a.get("other"), Out):
            return g.emit(pairwise, [a["self"], a["other"]])
        if a.get("dim") is None:
            return g.emit(spread, [a["self"]], axis=None, keepdims=False)
        found = g.emit(f"{spread}_first", [a["self"]], axis=a["dim"], keepdims=bool(a["keepdim"]))
        return found, Missing(f"the indices of {word}")

    return handler


def clamp(g: Builder, a: Arguments) -> Out:
    """Limits are numbers, or tensors: then the gradient goes to whoever gave the value, the limit at equality too."""
    low, high = a.get("min"), a.get("max")
    if not isinstance(low, Out) and not isinstance(high, Out):
        return g.emit("clamp", [a["self"]], low=low, high=high)
    x = a["self"]
    for name, limit in (("lt", low), ("gt", high)):
        if limit is not None:
            bound = _operand(g, limit)
            beyond = g.emit("compare", [x, bound], name=name)
            x = g.emit("where", [beyond, bound, x])
    return x


def shrink(soft: bool) -> Handler:
    """0 between -lambda and lambda; beyond, x itself or (soft) x moved towards 0 by lambda."""

    def handler(g: Builder, a: Arguments) -> Out:
        x, limit = a["self"], float(a["lambd"])
        beyond = g.emit("compare", [g.emit("absolute", [x])], name="gt", other=limit)
        if soft:
            step = g.emit("scale_shift", [g.emit("sign", [x])], scale=-limit)
            x = g.emit("add", [x, step])
        return g.emit("where", [beyond, x, constant(g, 0, g.result_dtype)])

    return handler


# --- indices --------------------------------------------------------------------------------------------------------


def index(g: Builder, a: Arguments) -> Out:
    """x[:, i, j] with arrays of integers at neighboring axes, or one truth value for each element of some axes."""
    arrays = [(axis, i) for axis, i in enumerate(a["indices"]) if i is not None]
    if any(i.dtype in ("bool", "uint8") for _, i in arrays):
        raise InputError("picking elements by a mask is not supported: the size of the result depends on values")
    return g.emit("index", [a["self"], *(i for _, i in arrays)], axes=_neighbors(arrays))


def index_put(g: Builder, a: Arguments) -> Out:
    """x[:, i] = y with arrays of integers at neighboring axes, or x[mask] = number."""
    if a["accumulate"]:
        raise InputError("adding at indices is not supported")
    x, value = a["self"], a["values"]
    arrays = [(axis, i) for axis, i in enumerate(a["indices"]) if i is not None]
    masks = [(axis, i) for axis, i in arrays if i.dtype in ("bool", "uint8")]
    if not masks:
        axes = _neighbors(arrays)
        return g.emit("index_put", [x, cast(g, value, x.dtype), *(i for _, i in arrays)], axes=axes)
    if len(arrays) > 1 or value.shape:
        raise InputError("writing an array at the places of a mask is not supported: use torch.where")
    axis, mask = masks[0]
    lead = (None,) * axis + (Ellipsis,) + (None,) * (len(x.shape) - axis - len(mask.shape))
    truth = Out(g.emit("compare", [mask], name="ne", other=0).position, mask.shape, "bool")
    placed = g.emit("where", [g.emit("view", [truth], index=lead), cast(g, value, x.dtype), x])
    return Out(placed.position, x.shape, x.dtype)


def _neighbors(arrays: list[tuple[int, Out]]) -> tuple[int, ...]:
    axes = [axis for axis, _ in arrays]
    if axes != list(range(axes[0], axes[0] + len(axes))):
        raise InputError("indices at axes that are not neighbors are not supported")
    return tuple(axes)


def index_select(g: Builder, a: Arguments) -> Out:
    return g.emit("index", [a["self"], a["index"]], axes=(a["dim"] % len(a["self"].shape),))


def embedding(g: Builder, a: Arguments) -> Out:
    if a.get("padding_idx", -1) != -1 or a.get("scale_grad_by_freq") or a.get("sparse"):
        raise InputError("an embedding with a padding index, scaled or sparse gradients is not supported")
    return g.emit("index", [a["weight"], a["indices"]], axes=(0,))


def gather(g: Builder, a: Arguments) -> Out:
    x, index = a["self"], a["index"]
    if len(x.shape) != len(index.shape):
        raise InputError("gathering with an empty index is not supported")
    return g.emit("gather", [x, index], axis=a["dim"])


def argmax(g: Builder, a: Arguments) -> Out:
    if a.get("keepdim"):
        raise InputError("argmax with keepdim is not supported")
    return g.emit("argmax", [a["self"]], axis=a["dim"])


# --- constants of a given shape -------------------------------------------------------------------------------------


def like(value: float | None) -> Handler:
    """An array of the shape of another."""

    def handler(g: Builder, a: Arguments) -> Out:
        x = a["self"]
        filled = g.emit("full_like", [x], value=a["fill_value"] if value is None else value)
        return cast(g, Out(filled.position, x.shape, x.dtype), g.result_dtype)

    return handler


def full(value: float | None) -> Handler:
    """An array of a shape that may depend on the batch."""

    def handler(g: Builder, a: Arguments) -> Out:
        dtype = "float32" if g.result_dtype in ("float16", "bfloat16") else g.result_dtype
        return g.emit(
            "full", [], shape=numbers(a["size"]), value=a["fill_value"] if value is None else value, dtype=dtype
        )

    return handler


def triangle(lower: bool) -> Handler:
    """The part of the last two axes below (above) a diagonal; zeros elsewhere."""

    def handler(g: Builder, a: Arguments) -> Out:
        rows, columns = a["self"].shape[-2:]
        if rows is None or columns is None:
            raise InputError("a triangle of the batch is not supported")
        mask = np.tri(rows, columns, a["diagonal"], bool) if lower else ~np.tri(rows, columns, a["diagonal"] - 1, bool)
        return g.emit("where", [g.constant(mask), a["self"], constant(g, 0, a["self"].dtype)])

    return handler


# --- chance ---------------------------------------------------------------------------------------------------------


def bernoulli(g: Builder, a: Arguments) -> Out:
    """Zeros and ones; ones with probability p, or where there is none with the probabilities in the array itself."""
    if "p" in a and not isinstance(a["p"], Out):
        return g.emit("bernoulli", [a["self"]], which=g.next_draw(), p=float(a["p"]))
    return g.emit("bernoulli", [a["self"], a.get("p", a["self"])], which=g.next_draw(), p=None)


def rand(g: Builder, a: Arguments) -> Out:
    return g.emit("uniform", [full(0.0)(g, a)], which=g.next_draw())


def rand_like(g: Builder, a: Arguments) -> Out:
    return g.emit("uniform", [like(0.0)(g, a)], which=g.next_draw())
