"""Operations of a graph on whole axes: variance, roots, running sums, products by Einstein's convention."""

from collections.abc import Sequence

import numpy as np

from convlens.ops.arrays import unbroadcast
from convlens.scratch.operation import Array, Call, Operation

Shares = Sequence[Array | None]


def _variance(call: Call) -> Array:
    x, s = call.arrays[0], call.options
    return np.asarray(np.var(x, axis=s["axis"], ddof=s["correction"], keepdims=s["keepdims"]))


def _variance_backward(call: Call, grad: Array) -> Shares:
    """2 (x - mean) / (n - correction)."""
    x, axis = call.arrays[0], call.options["axis"]
    centered = x - x.mean(axis=axis, keepdims=True)
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    reduced = {a % max(x.ndim, 1) for a in axes}
    kept = grad.reshape([1 if i in reduced else n for i, n in enumerate(x.shape)])
    n = int(np.prod([x.shape[i] for i in reduced]))
    return [kept * centered * x.dtype.type(2 / (n - call.options["correction"]))]


def _root_backward(call: Call, grad: Array) -> Shares:
    """1 / (2 sqrt(x)); 0 where x is 0, as deviations and norms have it in PyTorch."""
    y = call.output
    return [np.divide(grad, 2 * y, out=np.zeros_like(y), where=y != 0)]


def _cumulative_backward(call: Call, grad: Array) -> Shares:
    """Each element is in all later sums."""
    axis = call.options["axis"]
    return [np.flip(np.cumsum(np.flip(grad, axis), axis=axis), axis)]


def _einsum(call: Call) -> Array:
    return np.asarray(np.einsum(call.options["equation"], *call.arrays, optimize=len(call.arrays) > 2))


def _einsum_backward(call: Call, grad: Array) -> Shares:
    """For each operand the product of the gradient and the others, summed over the axes that it has not."""
    inputs, output = call.options["equation"].split("->")
    names = inputs.split(",")
    shares: list[Array | None] = []
    for k, (x, own) in enumerate(zip(call.arrays, names, strict=True)):
        rest = [(n, a) for i, (n, a) in enumerate(zip(names, call.arrays, strict=True)) if i != k]
        known = set(output).union(*(n for n, _ in rest))
        kept = "".join(c for c in own if c in known)
        equation = f"{','.join([output, *(n for n, _ in rest)])}->{kept}"
        found = np.einsum(equation, grad, *(a for _, a in rest), optimize=len(rest) > 1)
        # An axis that this operand alone has was summed: all its elements receive the same.
        found = found.reshape([found.shape[kept.index(c)] if c in kept else 1 for c in own])
        shape = [n if c not in kept else m for c, n, m in zip(own, x.shape, found.shape, strict=True)]
        shares.append(unbroadcast(np.broadcast_to(found, shape), x.shape))
    return shares


MOMENTS: dict[str, Operation] = {
    "variance": Operation(_variance, _variance_backward),
    "root": Operation(lambda call: np.sqrt(call.arrays[0]), _root_backward),
    "sin": Operation(lambda call: np.sin(call.arrays[0]), lambda call, grad: [grad * np.cos(call.arrays[0])]),
    "cos": Operation(lambda call: np.cos(call.arrays[0]), lambda call, grad: [-grad * np.sin(call.arrays[0])]),
    "log1p": Operation(lambda call: np.log1p(call.arrays[0]), lambda call, grad: [grad / (1 + call.arrays[0])]),
    "expm1": Operation(lambda call: np.expm1(call.arrays[0]), lambda call, grad: [grad * (call.output + 1)]),
    "cumulative_sum": Operation(
        lambda call: np.cumsum(call.arrays[0], axis=call.options["axis"]), _cumulative_backward
    ),
    "einsum": Operation(_einsum, _einsum_backward),
}
