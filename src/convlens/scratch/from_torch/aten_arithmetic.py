"""Arithmetic, sums and comparisons of an exported program as nodes of a graph; see `aten`."""

from math import copysign, inf, log
from typing import Any

from convlens.base.errors import InputError
from convlens.scratch.from_torch.translation import Arguments, Builder, Handler, Out, numbers


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Out)


def _times(g: Builder, x: Out, factor: Any) -> Out:
    return x if factor == 1 else g.emit("scale_shift", [x], scale=float(factor))


def add(g: Builder, a: Arguments) -> Out:
    x, y, alpha = a["self"], a["other"], a.get("alpha", 1)
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], shift=float(y * alpha))
    return g.emit("add", [x, _times(g, y, alpha)])


def subtract(g: Builder, a: Arguments) -> Out:
    x, y, alpha = a["self"], a["other"], a.get("alpha", 1)
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], shift=-float(y * alpha))
    return g.emit("subtract", [x, _times(g, y, alpha)])


def rsub(g: Builder, a: Arguments) -> Out:
    x, y, alpha = a["self"], a["other"], a.get("alpha", 1)
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], scale=-float(alpha), shift=float(y))
    return g.emit("subtract", [y, _times(g, x, alpha)])


def multiply(g: Builder, a: Arguments) -> Out:
    x, y = a["self"], a["other"]
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], scale=float(y))
    return g.emit("multiply", [x, y])


def divide(g: Builder, a: Arguments) -> Out:
    x, y = a["self"], a["other"]
    if a.get("rounding_mode") is not None:
        raise InputError("division with rounding is not supported")
    if not _is_tensor(y):
        return g.emit("scale_shift", [x], scale=1 / float(y) if y else copysign(inf, y))
    return g.emit("divide", [x, y])


def power(g: Builder, a: Arguments) -> Out:
    if not _is_tensor(a["self"]) and float(a["self"]) > 0:  # c^x = exp(x log c)
        return g.emit("exp", [g.emit("scale_shift", [a["exponent"]], scale=log(float(a["self"])))])
    if not _is_tensor(a["self"]) or _is_tensor(a["exponent"]):
        raise InputError("powers are supported with a constant exponent, or of a constant above 0, only")
    return g.emit("power", [a["self"]], exponent=float(a["exponent"]))


def constant_power(exponent: float) -> Handler:
    return lambda g, a: g.emit("power", [a["self"]], exponent=exponent)


def negative(g: Builder, a: Arguments) -> Out:
    return g.emit("scale_shift", [a["self"]], scale=-1.0)


def reduction(op: str) -> Handler:
    def handler(g: Builder, a: Arguments) -> Out:
        axes = numbers(a.get("dim")) or None
        return g.emit(op, [a["self"]], axis=axes, keepdims=bool(a.get("keepdim", False)))

    return handler


def matmul(left: str, right: str) -> Handler:
    """Vectors are matrices of one row (left) or one column (right), and lose that axis again."""

    def handler(g: Builder, a: Arguments) -> Out:
        x, y = a[left], a[right]
        row, column = len(x.shape) == 1, len(y.shape) == 1
        if row:
            x = g.emit("take", [x], index=(None,))
        if column:
            y = g.emit("take", [y], index=(Ellipsis, None))
        out = g.emit("matmul", [x, y])
        if column:
            out = g.emit("take", [out], index=(Ellipsis, 0))
        lead = (Ellipsis, 0) if column else (Ellipsis, 0, slice(None))
        return g.emit("take", [out], index=lead) if row else out

    return handler


def fill(g: Builder, a: Arguments) -> Out:
    if _is_tensor(a["value"]):
        return g.emit("put", [a["self"], a["value"]], index=(Ellipsis,))
    return g.emit("full_like", [a["self"]], value=float(a["value"]))


def zero(g: Builder, a: Arguments) -> Out:
    return g.emit("full_like", [a["self"]], value=0.0)


def copy(g: Builder, a: Arguments) -> Out:
    """`x.copy_(y)` broadcasts y to x."""
    return g.emit("put", [a["self"], a["src"]], index=(Ellipsis,))


def unary(op: str) -> Handler:
    """One tensor in, one out, no options."""
    return lambda g, a: g.emit(op, [a["self"]])


# --- products of matrices -------------------------------------------------------------------------------------------


def added_product(left: str, right: str) -> Handler:
    """beta * self + alpha * left @ right."""

    def handler(g: Builder, a: Arguments) -> Out:
        product = _times(g, g.emit("matmul", [a[left], a[right]]), a["alpha"])
        return product if a["beta"] == 0 else g.emit("add", [_times(g, a["self"], a["beta"]), product])

    return handler


def contraction(left: str, right: str, equation: str) -> Handler:
    """A product of vectors, or of a matrix and a vector."""
    return lambda g, a: g.emit("einsum", [a[left], a[right]], equation=equation)


def einsum(g: Builder, a: Arguments) -> Out:
    """The equation in its explicit form, without dots."""
    ranks = [len(t.shape) for t in a["tensors"]]
    return g.emit("einsum", list(a["tensors"]), equation=explicit(a["equation"], ranks))


def explicit(equation: str, ranks: list[int]) -> str:
    """An equation of einsum with every axis named and its output spelled out.

    Raises:
        InputError: an operand has the same axis twice.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in equation]
    widths = [rank - len(o.replace("...", "")) for o, rank in zip(operands, ranks, strict=True)]
    most = max((w for o, w in zip(operands, widths, strict=True) if "..." in o), default=0)
    dots = "".join(free[:most])
    operands = [o.replace("...", dots[most - w :]) for o, w in zip(operands, widths, strict=True)]
    if any(len(set(o)) < len(o) for o in operands):
        raise InputError(f"einsum {equation!r} is not supported: an operand names an axis twice")
    letters = "".join(operands)
    once = "".join(sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1))
    return f"{','.join(operands)}->{right.replace('...', dots) if arrow else dots + once}"


# --- moments and norms ----------------------------------------------------------------------------------------------


def variance(deviation: bool) -> Handler:
    """The variance, or its root, along axes; `correction` is subtracted from the number of elements."""

    def handler(g: Builder, a: Arguments) -> Out:
        correction = a["correction"] if "correction" in a else int(a.get("unbiased", True))
        axes = numbers(a.get("dim")) or None
        out = g.emit(
            "variance",
            [a["self"]],
            axis=axes,
            keepdims=bool(a.get("keepdim", False)),
            correction=1 if correction is None else correction,
        )
        return g.emit("root", [out]) if deviation else out

    return handler


def vector_norm(g: Builder, a: Arguments) -> Out:
    """(sum |x|^p)^(1/p) along axes; p = inf is the largest magnitude."""
    x, order = a["self"], a["ord"] if "ord" in a else a["p"]
    order = 2 if order is None else order
    options = {"axis": numbers(a["dim"]) or None, "keepdims": bool(a["keepdim"])}
    if order == 2:
        return g.emit("root", [g.emit("total", [g.emit("power", [x], exponent=2.0)], **options)])
    magnitude = g.emit("absolute", [x])
    if order == 1:
        return g.emit("total", [magnitude], **options)
    if order in (inf, -inf):
        return g.emit("largest" if order > 0 else "smallest", [magnitude], **options)
    if order < 1:
        raise InputError(f"a norm of order {order} is not supported")
    summed = g.emit("total", [g.emit("power", [magnitude], exponent=float(order))], **options)
    return g.emit("power", [summed], exponent=1 / order)


def added_elements(op: str) -> Handler:
    """self + value * (tensor1 times or through tensor2)."""

    def handler(g: Builder, a: Arguments) -> Out:
        return g.emit("add", [a["self"], _times(g, g.emit(op, [a["tensor1"], a["tensor2"]]), a["value"])])

    return handler


def lerp(g: Builder, a: Arguments) -> Out:
    """self + weight * (end - self)."""
    way = g.emit("subtract", [a["end"], a["self"]])
    weighted = g.emit("multiply", [way, a["weight"]]) if _is_tensor(a["weight"]) else _times(g, way, a["weight"])
    return g.emit("add", [a["self"], weighted])


def cosine_similarity(g: Builder, a: Arguments) -> Out:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along an axis."""
    axis, options = a["dim"], {"axis": a["dim"], "keepdims": True}
    if a["x1"].shape[axis] != a["x2"].shape[axis]:
        raise InputError("cosine similarity of vectors that are broadcast is not supported")

    def unit(x: Out) -> Out:
        square = g.emit("total", [g.emit("power", [x], exponent=2.0)], **options)
        return g.emit("divide", [x, g.emit("clamp", [g.emit("root", [square])], low=a["eps"], high=None)])

    product = g.emit("multiply", [unit(a["x1"]), unit(a["x2"])])
    return g.emit("total", [product], axis=axis, keepdims=False)


def logsumexp(g: Builder, a: Arguments) -> Out:
    """The largest element is taken out of the sum, so that nothing overflows."""
    x, axes = a["self"], numbers(a["dim"])
    top = g.emit("stop_gradient", [g.emit("largest", [x], axis=axes, keepdims=True)])
    summed = g.emit("total", [g.emit("exp", [g.emit("subtract", [x, top])])], axis=axes, keepdims=bool(a["keepdim"]))
    if not a["keepdim"]:
        top = g.emit("total", [top], axis=axes, keepdims=False)
    return g.emit("add", [g.emit("log", [summed]), top])


def cumulative_sum(g: Builder, a: Arguments) -> Out:
    return g.emit("cumulative_sum", [a["self"]], axis=a["dim"])
