"""How a number is shared out among what it was made of: for each kind of operation one rule.

A rule answers one question. Somewhere above, a number is sum(c * y) plus known constants, y being the output of an
operation and c a weight for each of its cells. What are the weights of the operation's inputs, so that

    sum(c * y) = sum(c_1 * x_1) + sum(c_2 * x_2) + ... + bias ?

- Linear operations (convolution, average, addition, moving cells about): the weights are the gradient, and the bias is
  what comes out for an input of zeros. Nothing is chosen here.
- The largest of several (max pooling): all goes to the winner.
- A function of one number f(x): the slope of the line from (0, f(0)) to (x, f(x)); f(0) is bias. For ReLU that is 1 or
  0: the value passes or not. Where f(0) is not finite (log): the tangent at x; the rest is bias.
- A product of two numbers that both come from the image: each takes half. (These last three rules are what integrated
  gradients from zero give, Sundararajan et al. 2017; for products also Achtibat et al., "AttnLRP", 2024.)
- Normalization by the image's own statistics, and divisors: mean, deviation and divisor are held fixed, so x keeps its
  share. (For layer normalization: Ali et al., "XAI for transformers", 2022.)
- Softmax: the tangent at x; the rest is bias (AttnLRP).
- What only chooses or counts (comparisons, rounding, indices): the value is held fixed, all of it is bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from convlens.inspection.trace.statistics import statistics_of
from convlens.ops import conv_transpose2d, convolution
from convlens.ops.arrays import unbroadcast
from convlens.scratch.operation import Call
from convlens.scratch.operations import OPERATIONS

Array = np.ndarray


class Shared(NamedTuple):
    """Weights for each input (None for one that takes no share), the bias, and how the share was taken."""

    weights: list[Array | None]
    bias: float
    how: str


Rule = Callable[[str, Call, Array, Sequence[bool]], Shared]


def share(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """Shares sum(c * output) out among the inputs of an operation.

    Args:
        op: its name in `scratch.operations.OPERATIONS`.
        call: the operation at work.
        c: a weight for each cell of its output.
        takes: for each input, whether it takes a share; the others (parameters, constants) are known numbers.
    """
    return RULES.get(op, tangent)(op, call, c, takes)


def carries(op: str, options: Any) -> bool:
    """Whether an operation hands shares on to its inputs."""
    return not (op in FIXED or (op == "power" and options["exponent"] < 0))


def _gradients(op: str, call: Call, c: Array, takes: Sequence[bool] = ()) -> list[Array | None]:
    if op in _ADJOINTS and takes and takes[0] and not any(takes[1:]):  # large weights need no gradient
        return [_ADJOINTS[op](call, c), *[None] * (len(call.arrays) - 1)]
    call = replace(call, needs=(True,) * len(call.arrays))
    return list(OPERATIONS[op].backward(call, c))[: len(call.arrays)]


def _linear_adjoint(call: Call, c: Array) -> Array:
    return c @ call.arrays[1]


def _conv2d_adjoint(call: Call, c: Array) -> Array:
    """A convolution backwards is a transposed convolution with the same weights."""
    x, w = call.arrays[:2]
    *_, windows, groups = convolution.checked(x, w, **call.options)
    sides = tuple(side for around in windows.around for side in around)
    how = {"stride": windows.stride, "padding": sides, "dilation": windows.dilation, "groups": groups}
    return conv_transpose2d(c, w, output_size=windows.size, **how)


_ADJOINTS = {"linear": _linear_adjoint, "conv2d": _conv2d_adjoint}


def _forward(op: str, call: Call, arrays: Sequence[Any]) -> Array:
    return np.asarray(OPERATIONS[op].forward(Call(tuple(arrays), call.options, call.mode)))


def _with_zeros(call: Call, takes: Sequence[bool]) -> list[Any]:
    return [np.zeros_like(a) if t else a for a, t in zip(call.arrays, takes, strict=True)]


def _only(found: Sequence[Array | None], takes: Sequence[bool]) -> list[Array | None]:
    return [g if t else None for g, t in zip(found, takes, strict=True)]


def linear(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """f(x) = f(0) + (gradient) x, in all inputs together."""
    found = _only(_gradients(op, call, c, takes), takes)
    if any(t and g is None for g, t in zip(found, takes, strict=True)):  # it has no gradient: a cast to integers
        return held(op, call, c, takes)
    return Shared(found, float((c * _forward(op, call, _with_zeros(call, takes))).sum()), "linear: input times weight")


def product(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """Linear in each input alone: n inputs that take a share take an n-th each."""
    count = sum(takes)
    if count < 2:
        return linear(op, call, c, takes)
    found = [None if g is None else g / count for g in _only(_gradients(op, call, c), takes)]
    bias = float((c * _forward(op, call, _with_zeros(call, takes))).sum())
    return Shared(found, bias, "a product of values that both come from the image: each takes half")


def winner(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """Of several the one: y is the sum of all inputs, each times its gradient."""
    found = _gradients(op, call, c)
    known = [(g * x).sum() for g, x, t in zip(found, call.arrays, takes, strict=True) if not t and g is not None]
    return Shared(_only(found, takes), float(sum(known)), "the winner takes all; equal ones as in the gradient")


def pointwise(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """The line from (0, f(0)) to (x, f(x))."""
    x = call.arrays[0]
    with np.errstate(all="ignore"):
        zero = _forward(op, call, _with_zeros(call, takes))
    if not np.isfinite(zero).all():
        return tangent(op, call, c, takes)
    derivative = _gradients(op, call, np.ones_like(call.output))[0]
    far = np.abs(x) > 1e-8
    slope = np.divide(call.output - zero, x, out=np.array(derivative), where=far)
    how = "passed on or stopped" if op == "relu" else "value times the slope of the line from f(0) to f(x)"
    return Shared([c * slope, *[None] * (len(call.arrays) - 1)], float((c * zero).sum()), how)


def tangent(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """f(x) = (gradient) x + what is left."""
    found = _only(_gradients(op, call, c), takes)
    passed = sum(float((g * x).sum()) for g, x in zip(found, call.arrays, strict=True) if g is not None)
    return Shared(found, float((c * call.output).sum()) - passed, "the tangent at this point; what is left is bias")


def held(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """The value counts as a constant."""
    return Shared([None] * len(call.arrays), float((c * call.output).sum()), "the value is held fixed")


def same(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """The value is handed on (where only the gradient is stopped)."""
    return Shared([c], 0.0, "linear: input times weight")


def divisor(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """a / b with b held fixed."""
    if not takes[0]:
        return held(op, call, c, takes)
    weights = unbroadcast(c / call.arrays[1], np.shape(call.arrays[0]))
    return Shared([weights, None], 0.0, "linear, the divisor held fixed" if takes[1] else "linear: input times weight")


def response(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """x / d of local response normalization, d held fixed."""
    x, empty = call.arrays[0], call.options.get("k", 1.0) ** -call.options.get("beta", 0.75)
    factor = np.divide(call.output, x, out=np.full_like(x, empty), where=x != 0)
    return Shared([c * factor], 0.0, "linear, the divisor held fixed")


def normalized(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """(x - mean) factor + b, mean and deviation held fixed."""
    found = statistics_of(op, call)
    bias = float((c * (found.shift - found.mean * found.factor)).sum())
    weights: list[Array | None] = [c * found.factor, *[None] * (len(call.arrays) - 1)]
    return Shared(weights, bias, f"linear, mean and deviation {found.whose} held fixed")


def gated(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """a (1/2 + slope b): the first part is linear, of the product each takes half."""
    axis = call.options.get("axis", -1)
    a, b = np.split(call.arrays[0], 2, axis)
    gate = np.divide(call.output, a, out=np.full_like(a, 0.5), where=a != 0)
    slope = np.divide(gate - 0.5, b, out=np.full_like(b, 0.25), where=np.abs(b) > 1e-8)
    how = "a product of values that both come from the image: each takes half"
    return Shared([np.concatenate([c * (gate + 0.5) / 2, c * a * slope / 2], axis)], 0.0, how)


def squared(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """A variance is a sum of squares, of which each factor takes half: together what half the gradient gives."""
    (g,) = _gradients(op, call, c)
    return Shared([None if g is None else g / 2], 0.0, "a square: each factor takes half")


def batch_norm(op: str, call: Call, c: Array, takes: Sequence[bool]) -> Shared:
    """Linear with running statistics; by the image's own where there are none."""
    own = statistics_of(op, call).of_image
    return (normalized if own or any(takes[1:]) else linear)(op, call, c, takes)


_FIXED = (
    "compare logical_not floor ceil sign trunc round argmax full full_like view bernoulli uniform max_pool2d_indices "
    "adaptive_max_pool2d_indices size integer"
)
_LINEAR = (
    "add subtract scale_shift total mean avg_pool2d adaptive_avg_pool2d global_avg_pool2d flatten reshape permute "
    "broadcast take put pad pixel_shuffle pixel_unshuffle upsample_nearest upsample_bilinear upsample_bicubic concat "
    "dropout alpha_dropout where index index_put gather cast cumulative_sum running_instance_norm"
)
_PRODUCTS = "conv1d conv2d conv_transpose2d locally_connected2d linear multiply matmul einsum"
_WINNERS = (
    "max_pool2d adaptive_max_pool2d global_max_pool2d maximum minimum largest smallest largest_first smallest_first"
)
_POINTWISE = (
    "relu leaky_relu prelu elu selu celu sigmoid tanh silu gelu mish softplus log_sigmoid hardtanh hardsigmoid clamp "
    "threshold absolute exp log power root sin cos log1p expm1"
)
FIXED = frozenset(_FIXED.split())
RULES: dict[str, Rule] = {
    **dict.fromkeys(_LINEAR.split(), linear),
    **dict.fromkeys(_PRODUCTS.split(), product),
    **dict.fromkeys(_WINNERS.split(), winner),
    **dict.fromkeys(_POINTWISE.split(), pointwise),
    **dict.fromkeys(FIXED, held),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm"), normalized),
    **dict.fromkeys(("softmax", "log_softmax"), tangent),
    "batch_norm": batch_norm,
    "divide": divisor,
    "local_response_norm": response,
    "glu": gated,
    "variance": squared,
    "stop_gradient": same,
}
