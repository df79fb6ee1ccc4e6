"""The operations that a graph can hold: for each name how to run it and how to give gradients back.

Most are a pair of functions of `convlens.ops` as they are. Written out here are those that keep something from forward
for backward, that behave differently in training, or that can save work where a gradient is not wanted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from convlens import ops
from convlens.base.errors import InputError

Array = np.ndarray


@dataclass(frozen=True)
class Mode:
    """How a graph is run: in training or not, and the address of its dropout masks."""

    training: bool = False
    seed: int = 0
    step: int = 0

    def mask(self, which: int, shape: tuple[int, ...], rate: float) -> Array:
        """The mask of dropout number `which`, booleans of `shape`."""
        return ops.dropout_mask(shape, rate, self.seed, "dropout", which, self.step)


@dataclass
class Call:
    """One operation at work.

    Attributes:
        arrays: its inputs; None for an argument left out.
        settings: its other arguments.
        output: what it gave.
        saved: what its backward needs besides.
        updates: new values of buffers, by position among the inputs.
        needs: which inputs want a gradient (known in backward only).
    """

    arrays: tuple[Any, ...]
    settings: dict[str, Any]
    mode: Mode
    output: Any = None
    saved: Any = None
    updates: dict[int, Array] = field(default_factory=dict)
    needs: tuple[bool, ...] = ()


class Operation(NamedTuple):
    """`forward(call)` gives the output; `backward(call, grad)` a gradient (or None) for each input."""

    forward: Callable[[Call], Any]
    backward: Callable[[Call, Array], Sequence[Array | None]]


def _pair(name: str, *, output: bool = False) -> Operation:
    """A function of `convlens.ops` and its backward, called with the same arrays and settings."""
    run, back = getattr(ops, name), getattr(ops, f"{name}_backward")

    def backward(call: Call, grad: Array) -> Sequence[Array | None]:
        extra = {"y": call.output} if output else {}
        return back(grad, *call.arrays, **call.settings, **extra)

    return Operation(lambda call: run(*call.arrays, **call.settings), backward)


def _weighted(name: str) -> Operation:
    """x, w, b: the backward function takes no bias, and may leave out the gradient of x where nobody needs it."""
    run, back = getattr(ops, name), getattr(ops, f"{name}_backward")
    can_skip = "need_x" in signature(back).parameters

    def backward(call: Call, grad: Array) -> Sequence[Array | None]:
        x, w = call.arrays[:2]
        skip = {"need_x": call.needs[0]} if can_skip else {}
        return back(grad, x, w, **call.settings, **skip)[: len(call.arrays)]

    return Operation(lambda call: run(*call.arrays, **call.settings), backward)


def _list(name: str) -> Operation:
    """Operations on any number of arrays."""
    run, back = getattr(ops, name), getattr(ops, f"{name}_backward")
    return Operation(
        lambda call: run(call.arrays, **call.settings),
        lambda call, grad: back(grad, call.arrays, **call.settings)[0],
    )


def _value(function: Callable[..., Any]) -> Operation:
    """A plain number computed from numbers or shapes: it has no gradient."""
    return Operation(lambda call: function(*call.arrays, **call.settings), lambda call, grad: [None] * len(call.arrays))


# --- batch normalisation --------------------------------------------------------------------------------------------


def _batch_norm(call: Call) -> Array:
    """Inputs x, w, b, running mean, running variance (None for those left out); training: the batch's statistics."""
    x, w, b, mean, var = _five(call)
    eps = call.settings["eps"]
    if not _uses_batch(call):
        return ops.batch_norm_inference(x, mean, var, w, b, eps=eps)
    call.saved = statistics = ops.batch_statistics(x)
    if mean is not None and call.mode.training:
        n = x.size // x.shape[1]
        new = ops.update_statistics(ops.Statistics(mean, var), statistics, n, momentum=call.settings["momentum"])
        call.updates = {3: new.mean.astype(mean.dtype), 4: new.var.astype(var.dtype)}
    return ops.batch_norm(x, w, b, eps=eps, statistics=statistics)


def _batch_norm_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    x, w, b, mean, var = _five(call)
    eps = call.settings["eps"]
    if _uses_batch(call):
        gradients = ops.batch_norm_backward(grad, x, w, b, eps=eps, statistics=call.saved)
    else:
        gradients = ops.batch_norm_inference_backward(grad, x, mean, var, w, b, eps=eps)
    return [*gradients, None, None]


def _five(call: Call) -> tuple[Any, ...]:
    """The inputs with None for those left out at the end."""
    return (*call.arrays, *(None,) * (5 - len(call.arrays)))


def _uses_batch(call: Call) -> bool:
    """The batch's own statistics: in training unless frozen, and always where there are no running ones."""
    return _five(call)[3] is None or (call.mode.training and not call.settings.get("frozen", False))


# --- dropout --------------------------------------------------------------------------------------------------------


def _dropout(call: Call) -> Array:
    """Settings: rate; which (its number in the graph); channels: drops whole channels; always: in inference too."""
    x, rate = call.arrays[0], call.settings["rate"]
    if rate == 0 or not (call.mode.training or call.settings.get("always")):
        return x
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2)) if call.settings.get("channels") else x.shape
    call.saved = call.mode.mask(call.settings["which"], shape, rate)
    return ops.dropout(x, rate=rate, mask=call.saved)


def _dropout_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    if call.saved is None:
        return [grad]
    return ops.dropout_backward(grad, grad, rate=call.settings["rate"], mask=call.saved)


# --- limits ---------------------------------------------------------------------------------------------------------


def _hardtanh(call: Call) -> Array:
    return ops.clamp(call.arrays[0], **call.settings)


def _hardtanh_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    return ops.clamp_backward(grad, call.arrays[0], **call.settings, closed=False)


# --- sizes, which shapes of dynamic graphs are made of ---------------------------------------------------------------


def _size(x: Array, *, axis: int) -> int:
    return x.shape[axis]


def _integer(*, name: str, operands: tuple[int, ...]) -> int:
    a, *rest = operands
    if name == "neg":
        return -a
    (b,) = rest
    if name in ("floordiv", "mod") and b == 0:
        raise InputError(f"a size is divided by zero ({name})")
    table = {"add": a + b, "sub": a - b, "mul": a * b}
    return table[name] if name in table else (a // b if name == "floordiv" else a % b)


_PLAIN = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "power",
    "exp",
    "log",
    "absolute",
    "scale_shift",
    "total",
    "mean",
    "matmul",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "global_avg_pool2d",
    "global_max_pool2d",
    "relu",
    "leaky_relu",
    "clamp",
    "silu",
    "gelu",
    "flatten",
    "reshape",
    "permute",
    "broadcast",
    "take",
    "put",
    "pad",
    "upsample_nearest",
    "upsample_bilinear",
    "layer_norm",
    "group_norm",
    "instance_norm",
    "local_response_norm",
]

OPERATIONS: dict[str, Operation] = {
    **{name: _weighted(name) for name in ("linear", "conv1d", "conv2d", "conv_transpose2d", "locally_connected2d")},
    **{name: _pair(name) for name in _PLAIN},
    **{name: _pair(name, output=True) for name in ("sigmoid", "tanh", "softmax", "log_softmax")},
    "hardtanh": Operation(_hardtanh, _hardtanh_backward),
    "concat": _list("concat"),
    "batch_norm": Operation(_batch_norm, _batch_norm_backward),
    "dropout": Operation(_dropout, _dropout_backward),
    "identity": Operation(lambda call: call.arrays[0], lambda call, grad: [grad]),
    "stop_gradient": Operation(lambda call: call.arrays[0], lambda call, grad: [None]),
    "size": _value(_size),
    "integer": _value(_integer),
}
