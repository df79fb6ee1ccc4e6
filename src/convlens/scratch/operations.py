"""The operations that a graph can hold: for each name how to run it and how to give gradients back.

Most are a pair of functions of `convlens.ops` as they are. Written out here are those that keep something from forward
for backward, that behave differently in training, or that can save work where a gradient is not wanted.
"""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np

from convlens import ops
from convlens.base.errors import InputError
from convlens.scratch.chance import CHANCE
from convlens.scratch.moments import MOMENTS
from convlens.scratch.operation import Call, Mode, Operation
from convlens.scratch.selection import SELECTION

__all__ = ["OPERATIONS", "Call", "Mode", "Operation"]

Array = np.ndarray


def _pair(name: str, *, output: bool = False) -> Operation:
    """A function of `convlens.ops` and its backward, called with the same arrays and options."""
    run, back = getattr(ops, name), getattr(ops, f"{name}_backward")

    def backward(call: Call, grad: Array) -> Sequence[Array | None]:
        extra = {"y": call.output} if output else {}
        return back(grad, *call.arrays, **call.options, **extra)

    return Operation(lambda call: run(*call.arrays, **call.options), backward)


def _weighted(name: str) -> Operation:
    """x, w, b: the backward function takes no bias, and may leave out the gradient of x where it is not needed."""
    run, back = getattr(ops, name), getattr(ops, f"{name}_backward")
    can_skip = "need_x" in signature(back).parameters

    def backward(call: Call, grad: Array) -> Sequence[Array | None]:
        x, w = call.arrays[:2]
        skip = {"need_x": call.needs[0]} if can_skip else {}
        return back(grad, x, w, **call.options, **skip)[: len(call.arrays)]

    return Operation(lambda call: run(*call.arrays, **call.options), backward)


def _list(name: str) -> Operation:
    """Operations on any number of arrays."""
    run, back = getattr(ops, name), getattr(ops, f"{name}_backward")
    return Operation(
        lambda call: run(call.arrays, **call.options),
        lambda call, grad: back(grad, call.arrays, **call.options)[0],
    )


def _value(function: Callable[..., Any]) -> Operation:
    """A plain number computed from numbers or shapes: it has no gradient."""
    return Operation(lambda call: function(*call.arrays, **call.options), lambda call, grad: [None] * len(call.arrays))


def _indices(pool: Callable[..., tuple[Array, Array]]) -> Operation:
    """Which cell of its image each maximum is: integers, without gradient."""
    return _value(lambda x, **options: pool(x, **options)[1])


# --- batch normalization --------------------------------------------------------------------------------------------


def _batch_norm(call: Call) -> Array:
    """Inputs x, w, b, running mean, running variance (None for those left out); training: the batch's statistics."""
    x, w, b, mean, var = _five(call)
    eps = call.options["eps"]
    if not _uses_batch(call):
        return ops.batch_norm_inference(x, mean, var, w, b, eps=eps)
    call.saved = statistics = ops.batch_statistics(x)
    if mean is not None and call.mode.training:
        n, momentum = x.size // x.shape[1], call.options["momentum"]
        if momentum is None:  # the mean over all batches: the sixth input counts them
            count = call.arrays[5] + 1
            momentum = 1 / float(count)
            call.updates[5] = count
        new = ops.update_statistics(ops.Statistics(mean, var), statistics, n, momentum=momentum)
        call.updates |= {3: new.mean.astype(mean.dtype), 4: new.var.astype(var.dtype)}
    return ops.batch_norm(x, w, b, eps=eps, statistics=statistics)


def _batch_norm_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    x, w, b, mean, var = _five(call)
    eps = call.options["eps"]
    if _uses_batch(call):
        gradients = ops.batch_norm_backward(grad, x, w, b, eps=eps, statistics=call.saved)
    else:
        gradients = ops.batch_norm_inference_backward(grad, x, mean, var, w, b, eps=eps)
    return [*gradients, None, None, None]


def _running_instance_norm(call: Call) -> Array:
    """Inputs as for batch normalization; normalizes each image by its own statistics and keeps their mean."""
    x, w, b, mean, var = _five(call)
    if not call.mode.training:
        return ops.batch_norm_inference(x, mean, var, w, b, eps=call.options["eps"])
    axes, momentum = tuple(range(2, x.ndim)), call.options["momentum"]
    n = x[0, 0].size
    own_mean, own_var = x.mean(axis=axes).mean(axis=0), x.var(axis=axes, ddof=min(1, n - 1)).mean(axis=0)
    call.saved = ops.Statistics(own_mean, own_var)
    call.updates = {
        3: ((1 - momentum) * mean + momentum * own_mean).astype(mean.dtype),
        4: ((1 - momentum) * var + momentum * own_var).astype(var.dtype),
    }
    return ops.instance_norm(x, w, b, eps=call.options["eps"])


def _running_instance_norm_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    x, w, b, mean, var = _five(call)
    eps = call.options["eps"]
    if call.mode.training:
        return [*ops.instance_norm_backward(grad, x, w, b, eps=eps), None, None]
    return [*ops.batch_norm_inference_backward(grad, x, mean, var, w, b, eps=eps), None, None]


def _five(call: Call) -> tuple[Any, ...]:
    """The inputs with None for those left out at the end."""
    return (*call.arrays, *(None,) * (5 - len(call.arrays)))[:5]


def _uses_batch(call: Call) -> bool:
    """The batch's own statistics: in training unless frozen, and always where there are no running ones."""
    return _five(call)[3] is None or (call.mode.training and not call.options.get("frozen", False))


# --- limits ---------------------------------------------------------------------------------------------------------


def _hardtanh(call: Call) -> Array:
    return ops.clamp(call.arrays[0], **call.options)


def _hardtanh_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    return ops.clamp_backward(grad, call.arrays[0], **call.options, closed=False)


def _hardsigmoid(call: Call) -> Array:
    """min(max(x + 3, 0), 6) / 6."""
    x = call.arrays[0]
    return ops.clamp(x + 3, low=0.0, high=6.0) / 6


def _hardsigmoid_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    """Settings: slope, 1/6 (or what PyTorch takes for it)."""
    x = call.arrays[0]
    slope = grad.dtype.type(call.options["slope"])
    return [np.where((x > -3) & (x < 3), grad * slope, grad.dtype.type(0))]


def _celu_backward(call: Call, grad: Array) -> Sequence[Array | None]:
    """Settings: alpha; inverse, 1 / alpha (or what PyTorch takes for it)."""
    x, alpha, inverse = call.arrays[0], call.options["alpha"], call.options["inverse"]
    if inverse == 1 / alpha:
        return ops.celu_backward(grad, x, alpha=alpha)
    return [np.where(x > 0, grad, grad * alpha * inverse * np.exp(np.minimum(x, 0) * inverse))]


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
    "prelu",
    "elu",
    "selu",
    "mish",
    "softplus",
    "glu",
    "log_sigmoid",
    "threshold",
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
    "pixel_shuffle",
    "pixel_unshuffle",
    "upsample_nearest",
    "upsample_bilinear",
    "upsample_bicubic",
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
    "celu": Operation(lambda call: ops.celu(call.arrays[0], alpha=call.options["alpha"]), _celu_backward),
    "hardsigmoid": Operation(_hardsigmoid, _hardsigmoid_backward),
    "running_instance_norm": Operation(_running_instance_norm, _running_instance_norm_backward),
    **SELECTION,
    **MOMENTS,
    **CHANCE,
    "stop_gradient": Operation(lambda call: call.arrays[0], lambda call, grad: [None]),
    "max_pool2d_indices": _indices(ops.max_pool2d_with_indices),
    "adaptive_max_pool2d_indices": _indices(ops.adaptive_max_pool2d_with_indices),
    "size": _value(_size),
    "integer": _value(_integer),
}


def register(name: str, forward: Callable[..., Array], backward: Callable[..., Sequence[Array | None]]) -> None:
    """Enters an operation that graphs can run from then on.

    Args:
        name: what `Node.op` says. A name that is taken is refused with `InputError`.
        forward: `forward(*arrays, **options) -> array`.
        backward: `backward(grad, *arrays, **options)`, a gradient for each array, of its shape; None for one that has
            none. grad: of the output's shape.
    """
    if name in OPERATIONS:
        raise InputError(f"there is an operation {name!r} already")
    OPERATIONS[name] = Operation(
        lambda call: forward(*call.arrays, **call.options),
        lambda call, grad: backward(grad, *call.arrays, **call.options),
    )
