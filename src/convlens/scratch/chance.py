"""Operations of a graph that draw random numbers, each from its own address; see `Mode`."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from convlens import ops
from convlens.scratch.operation import Array, Call, Operation

Shares = Sequence[Array | None]
_ALPHA = 1.7580993408473766  # the limit of SELU for very negative numbers, without its sign


def _is_idle(call: Call) -> bool:
    """Dropout in inference; options always: it drops there too."""
    return call.options["rate"] == 0 or not (call.mode.training or call.options.get("always"))


def _draw(call: Call) -> Array:
    """Settings: rate; which (its number in the graph); channels: whole channels are dropped."""
    x = call.arrays[0]
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2)) if call.options.get("channels") else x.shape
    call.saved = call.mode.mask(call.options["which"], shape, call.options["rate"])
    return call.saved


def _dropout(call: Call) -> Array:
    x = call.arrays[0]
    return x if _is_idle(call) else ops.dropout(x, rate=call.options["rate"], mask=_draw(call))


def _dropout_backward(call: Call, grad: Array) -> Shares:
    if call.saved is None:
        return [grad]
    return ops.dropout_backward(grad, grad, rate=call.options["rate"], mask=call.saved)


def _alpha_scale(rate: float) -> float:
    return 1 / sqrt((_ALPHA * _ALPHA * rate + 1) * (1 - rate))


def _alpha_dropout(call: Call) -> Array:
    """Dropped numbers become -alpha, then all are scaled and shifted back to mean 0 and variance 1.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """
    x, rate = call.arrays[0], call.options["rate"]
    if _is_idle(call):
        return x
    a = _alpha_scale(rate)
    mask = _draw(call).astype(x.dtype)
    return x * (mask * x.dtype.type(a)) + ((mask - 1) * x.dtype.type(_ALPHA * a) + x.dtype.type(_ALPHA * a * rate))


def _alpha_dropout_backward(call: Call, grad: Array) -> Shares:
    if call.saved is None:
        return [grad]
    return [grad * (call.saved.astype(grad.dtype) * grad.dtype.type(_alpha_scale(call.options["rate"])))]


def _bernoulli(call: Call) -> Array:
    """Zeros and ones of the first input's shape; probabilities: p, or the second input."""
    x, p = call.arrays[0], call.options["p"]
    if p is not None:
        drawn = call.mode.mask(call.options["which"], x.shape, 1 - p)
    else:
        drawn = call.mode.uniform(call.options["which"], x.shape) < call.arrays[1]
    return np.asarray(drawn, x.dtype)


def _uniform(call: Call) -> Array:
    x = call.arrays[0]
    return np.asarray(call.mode.uniform(call.options["which"], x.shape), x.dtype)


def _nothing(call: Call, grad: Array) -> Shares:
    return [None] * len(call.arrays)


CHANCE: dict[str, Operation] = {
    "dropout": Operation(_dropout, _dropout_backward),
    "alpha_dropout": Operation(_alpha_dropout, _alpha_dropout_backward),
    "bernoulli": Operation(_bernoulli, _nothing),
    "uniform": Operation(_uniform, _nothing),
}
