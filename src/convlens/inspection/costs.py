"""What the operations of an execution cost: multiply-accumulates and memory.

Multiply-accumulates are those of convolutions and matrix products; biases, activations, pooling, normalization and
everything else count 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from convlens.classify.outputs import tensors_in
from convlens.geometry import conv_macs, linear_macs
from convlens.inspection.execution import Execution
from convlens.inspection.probe import Op
from convlens.nn.private import storage

MAC_CONVENTION = (
    "multiply-accumulates of convolutions and matrix products for one example; "
    "biases, activations, pooling, normalization and all else count 0"
)


def _convolution(op: Op) -> int:
    weight, groups = op.arguments["weight"], op.arguments.get("groups", 1)
    x, y = op.inputs[0], op.outputs[0]
    kernel = tuple(weight.shape[2:])
    if op.arguments.get("transposed"):  # weight [C_in, C_out / groups, *kernel]
        return x.shape[0] * conv_macs(tuple(x.shape[1:]), weight.shape[1] * groups, kernel, groups)
    assert y is not None
    return y.shape[0] * conv_macs(tuple(y.shape[1:]), weight.shape[1] * groups, kernel, groups)


def _matmul(op: Op) -> int:
    left, right = [tensor for tensor in op.inputs if tensor.dim() > 1][-2:]
    return linear_macs(left.shape[-1], right.shape[-1], prod(left.shape[:-1]))


def _vector(op: Op) -> int:
    return op.inputs[-2].numel()


def _attention(op: Op) -> int:
    query, key, value = op.inputs[:3]
    scores = linear_macs(query.shape[-1], key.shape[-2], prod(query.shape[:-1]))
    return scores + linear_macs(key.shape[-2], value.shape[-1], prod(query.shape[:-1]))


def _recurrent(op: Op) -> int:
    x, *weights = op.inputs[:3]  # every step multiplies by both matrices
    return prod(x.shape[:-1]) * sum(weight.numel() for weight in weights)


_COUNTERS: dict[str, Callable[[Op], int]] = {
    **dict.fromkeys(("convolution", "mkldnn_convolution"), _convolution),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _matmul),
    **dict.fromkeys(("mv", "addmv", "dot", "vdot"), _vector),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
        ),
        _attention,
    ),
    "mkldnn_rnn_layer": _recurrent,
}


def multiplies(op: Op) -> bool:
    """Whether the operation is a convolution or a matrix product."""
    return op.name.rstrip("_") in _COUNTERS


def macs(op: Op) -> int:
    """Multiply-accumulates of one operation."""
    counter = _COUNTERS.get(op.name.rstrip("_"))
    return counter(op) if counter else 0


@dataclass(frozen=True)
class Memory:
    """Bytes of activations for one example, and of what a network in training holds besides.

    Attributes:
        peak: the most that is alive at once in a forward pass that frees each tensor after its last use.
        total: all that a forward pass allocates, and the input.
        training: what automatic differentiation keeps for the backward pass, for each example of a batch; None where
            the network could not be run in training mode.
        state: parameters and buffers, gradients, and the two averages of each parameter that Adam keeps.
        parameters: of all parameters, those of layers that do not run among them.
    """

    peak: int
    total: int
    training: int | None
    state: int = 0
    parameters: int = 0

    def of_batch(self, images: int) -> int | None:
        """Bytes that training holds with so many images in a batch; None where `training` is not known."""
        return None if self.training is None else self.state + images * self.training


def allocations(execution: Execution) -> list[dict[int, int]]:
    """For each operation, the storages that it allocated and their bytes."""
    known = {*execution.constants, storage(execution.input)}
    result = []
    for op in execution.ops:
        fresh: dict[int, int] = {}
        for output in op.outputs:
            if output is not None and storage(output) not in known:
                known.add(storage(output))
                if not op.is_view:
                    fresh[storage(output)] = output.untyped_storage().nbytes()
        result.append(fresh)
    return result


def forward_peak(execution: Execution) -> int:
    """Bytes alive at once, at worst, if each tensor is freed after its last use."""
    sizes = {storage(execution.input): execution.input.untyped_storage().nbytes()}
    born = {storage(execution.input): 0}
    for index, fresh in enumerate(allocations(execution)):
        sizes |= fresh
        born |= dict.fromkeys(fresh, index)
    last = dict(born)
    for index, op in enumerate(execution.ops):
        for tensor in op.inputs:
            if storage(tensor) in last:
                last[storage(tensor)] = index
    for tensor in tensors_in(execution.output):
        if storage(tensor) in last:
            last[storage(tensor)] = len(execution.ops)
    change = [0] * (len(execution.ops) + 2)
    for place, size in sizes.items():
        change[born[place]] += size
        change[last[place] + 1] -= size
    alive = peak = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    return peak


def kept(execution: Execution) -> dict[int, int]:
    """By storage, the bytes that are kept for the backward pass, parameters and buffers left out."""
    places = {storage(tensor): tensor.untyped_storage().nbytes() for tensor in execution.saved}
    return {place: size for place, size in places.items() if place not in execution.constants}
