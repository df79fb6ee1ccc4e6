"""One rule for each operation: how relevance that arrives at its output is shared among its inputs.

A rule is `rule(call, relevance)`: relevance of the output's shape to a share for each input, None for parameters. What
biases keep is noted in a `Ledger`, so that all of it can be accounted for. z_j is the sum that made output j.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from convlens.base.errors import InputError
from convlens.inspection.trace.shares import FIXED
from convlens.ops.arrays import unbroadcast
from convlens.scratch.graph import LEAVES, Graph, Node, Rule, Rules
from convlens.scratch.operations import OPERATIONS, Call

Array = np.ndarray
Shares = Sequence[Array | None]
EPSILON = 1e-6

_WEIGHTED = ("conv1d", "conv2d", "conv_transpose2d", "locally_connected2d", "linear")
_AVERAGING = (
    "avg_pool2d", "adaptive_avg_pool2d", "global_avg_pool2d", "mean", "total", "upsample_nearest", "upsample_bilinear",
)  # fmt: skip
_MOVING = (  # the derivative moves each number to where it came from, and adds up copies
    "max_pool2d", "adaptive_max_pool2d", "global_max_pool2d", "flatten", "reshape", "permute", "broadcast", "take",
    "put", "pad", "pixel_shuffle", "pixel_unshuffle", "concat", "where", "maximum", "minimum", "largest", "smallest",
    "largest_first", "smallest_first", "index", "index_put", "gather",
)  # fmt: skip
_ONE_TO_ONE = (
    "relu", "leaky_relu", "prelu", "elu", "selu", "celu", "silu", "gelu", "mish", "softplus", "sigmoid", "tanh",
    "hardtanh", "hardsigmoid", "clamp", "threshold", "log_sigmoid", "absolute", "exp", "log", "power", "root",
    "scale_shift", "cast", "stop_gradient", "dropout", "batch_norm", "layer_norm", "group_norm", "instance_norm",
    "running_instance_norm", "local_response_norm",
)  # fmt: skip
_GATES = ("sigmoid", "hardsigmoid", "hardtanh", "tanh", "softmax")  # what a map is only multiplied by


class Ledger:
    """What biases have kept since `take`, for each picture of the batch."""

    def __init__(self) -> None:
        self._kept: list[Array] = []

    def keep(self, relevance: Array) -> None:
        """relevance: [N, ...], of a layer's biases."""
        self._kept.append(relevance.reshape(len(relevance), -1).sum(1))

    def take(self, n: int) -> Array:
        """float64 [n], and begins anew."""
        kept, self._kept = self._kept, []
        return np.sum(kept, axis=0) if kept else np.zeros(n)


def rules_for(graph: Graph, ledger: Ledger) -> Rules:
    """The rule of each node of a graph.

    Raises:
        InputError: an operation without a rule lies between the pixels and an output.
    """
    place, used = _Places.of(graph), graph.used()
    rules = {
        node.name: _rule(place, position, ledger)
        for position, node in enumerate(graph.nodes)
        if node.op not in LEAVES and place.from_input[position] and node.name in used
    }
    return lambda node: rules.get(node.name)


def _rule(place: "_Places", position: int, ledger: Ledger) -> Rule:
    node = place.graph.nodes[position]
    data = tuple(i is not None and place.from_input[i] for i in node.inputs)
    if node.op in _WEIGHTED and data[:2] == (True, False):
        share = _positive if place.has_layer_after(position) and node.op != "linear" else _epsilon
        return partial(share, node.op, _merged_norm(place, position), ledger)
    if node.op == "matmul" and sum(data) == 1:
        return partial(_average, node.op, data.index(True))
    if node.op in _AVERAGING:
        return partial(_average, node.op, 0)
    if node.op in _MOVING:
        return OPERATIONS[node.op].backward
    if node.op in _ONE_TO_ONE or (node.op in ("softmax", "log_softmax") and position in place.graph.outputs):
        return _pass_on(0)
    if node.op in ("add", "subtract"):
        return partial(_addition, -1.0 if node.op == "subtract" else 1.0, data, ledger)
    if node.op in ("multiply", "divide"):
        return _product(place.graph, node, data)
    if node.op in FIXED:
        return partial(_constant, ledger)
    raise InputError(f"lrp has no rule for {node.op!r} ({node.name}): use another method for this network")


# --- sums with weights ----------------------------------------------------------------------------------------------

Merged = Callable[[Array, Array | None], tuple[Array, Array | None]]


def _epsilon(op: str, merged: Merged, ledger: Ledger, call: Call, relevance: Array) -> Shares:
    """R_i = sum_j z_ij / (z_j + e) R_j, and for the bias b_j / (z_j + e) R_j."""
    x, (w, b) = call.arrays[0], merged(*_weights(call))
    run = partial(_weighted, op, call)
    z = run(x, w) if b is None else run(x, w) + _beside(op, b, relevance)
    part = relevance / _stable(z)
    if b is not None:
        ledger.keep(_beside(op, b, relevance) * part)
    return [x * _back(op, call, x, w, part), *[None] * (len(call.arrays) - 1)]


def _positive(op: str, merged: Merged, ledger: Ledger, call: Call, relevance: Array) -> Shares:
    """R_i = sum_j z_ij+ / (sum_i z_ij+ + b_j+) R_j; where no part is positive, of the negative ones."""
    x, (w, b) = call.arrays[0], merged(*_weights(call))
    run, above, below = partial(_weighted, op, call), np.maximum, np.minimum
    left = relevance
    share = np.zeros_like(x)
    for one, other in ((above, below), (below, above)):  # pairs of x and w whose product has the wanted sign
        sign_b = None if b is None else _beside(op, one(b, 0), relevance)
        z = run(above(x, 0), one(w, 0)) + run(below(x, 0), other(w, 0))
        z = z if sign_b is None else z + sign_b
        part = np.divide(left, z, out=np.zeros_like(z), where=z != 0)
        share += above(x, 0) * _back(op, call, x, one(w, 0), part) + below(x, 0) * _back(op, call, x, other(w, 0), part)
        if sign_b is not None:
            ledger.keep(sign_b * part)
        left = np.where(z != 0, 0, left)
        if not left.any():
            break
    return [share, *[None] * (len(call.arrays) - 1)]


def _average(op: str, which: int, call: Call, relevance: Array) -> Shares:
    """The epsilon rule where weights are those of an average, or a matrix."""
    x = call.arrays[which]
    needed = Call(call.arrays, call.options, call.mode, call.output, call.saved, {}, call.needs)
    shares = list(OPERATIONS[op].backward(needed, relevance / _stable(call.output)))
    return [x * share if i == which and share is not None else None for i, share in enumerate(shares)]


def _weights(call: Call) -> tuple[Array, Array | None]:
    return call.arrays[1], call.arrays[2] if len(call.arrays) > 2 else None


def _weighted(op: str, call: Call, x: Array, w: Array) -> Array:
    """The operation without its bias."""
    return OPERATIONS[op].forward(Call((x, w, None)[: len(call.arrays)], call.options, call.mode))


def _back(op: str, call: Call, x: Array, w: Array, part: Array) -> Array:
    """For each input the sum of w_ij * part_j."""
    needs = (True, False, False)[: len(call.arrays)]
    share = OPERATIONS[op].backward(Call((x, w, None)[: len(call.arrays)], call.options, call.mode, needs=needs), part)
    assert share[0] is not None
    return share[0]


def _beside(op: str, b: Array, y: Array) -> Array:
    """Biases [C] (or of an output's own shape) as they are added to outputs [N, C, ...]; of `linear` to [N, ..., C]."""
    shaped = b.reshape(-1, *[1] * (y.ndim - 2)) if b.ndim == 1 and y.ndim > 2 and op != "linear" else b
    return np.broadcast_to(shaped, y.shape)


def _stable(z: Array) -> Array:
    return z + np.where(z >= 0, EPSILON, -EPSILON)


# --- additions and products -----------------------------------------------------------------------------------------


def _addition(sign: float, data: tuple[bool, ...], ledger: Ledger, call: Call, relevance: Array) -> Shares:
    """a + b as a convolution with the weights 1: shares of the positive parts, or else of the negative ones."""
    terms = [np.broadcast_to(a, relevance.shape) for a in (call.arrays[0], sign * call.arrays[1])]
    above, below = [np.maximum(t, 0) for t in terms], [np.minimum(t, 0) for t in terms]
    positive, negative = above[0] + above[1], below[0] + below[1]
    shares: list[Array | None] = []
    for k in range(2):
        share = np.divide(above[k], positive, out=np.zeros_like(relevance), where=positive > 0)
        share = np.where(positive > 0, share, np.divide(below[k], negative, out=share, where=negative < 0))
        got = relevance * share
        if data[k]:
            shares.append(unbroadcast(got, call.arrays[k].shape))
        else:
            shares.append(None)
            ledger.keep(got)
    return shares


def _product(graph: Graph, node: Node, data: tuple[bool, ...]) -> Rule:
    """All to the factor that depends on the picture; of two, to the one that is no gate, or is the larger map."""
    if node.op == "divide" or sum(data) == 1:
        return _pass_on(data.index(True))
    gates = [_is_gate(graph, i) for i in node.inputs]
    if gates[0] != gates[1]:
        return _pass_on(gates.index(False))

    def rule(call: Call, relevance: Array) -> Shares:
        a, b = call.arrays
        if a.size != b.size:
            return _pass_on(0 if a.size > b.size else 1)(call, relevance)
        return [unbroadcast(relevance / 2, a.shape), unbroadcast(relevance / 2, b.shape)]

    return rule


def _is_gate(graph: Graph, position: int | None) -> bool:
    """Whether a factor comes out of a squashing function, scaled and shaped perhaps."""
    while position is not None and graph.nodes[position].op in ("scale_shift", "broadcast", "reshape"):
        position = graph.nodes[position].inputs[0]
    return position is not None and graph.nodes[position].op in _GATES


def _constant(ledger: Ledger, call: Call, relevance: Array) -> Shares:
    """A value that the picture only chooses or counts, or whose shape alone it gives, counts as a bias."""
    ledger.keep(relevance)
    return [None] * len(call.arrays)


def _pass_on(which: int) -> Rule:
    """What arrives goes on to one input, number by number."""

    def rule(call: Call, relevance: Array) -> Shares:
        shares: list[Array | None] = [None] * len(call.arrays)
        shares[which] = unbroadcast(relevance, np.shape(call.arrays[which]))
        return shares

    return rule


# --- where a node stands --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Places:
    """from_input: for each node whether it depends on the network's input. users: for each node those that take it."""

    graph: Graph
    from_input: list[bool]
    users: list[list[int]]

    @classmethod
    def of(cls, graph: Graph) -> "_Places":
        from_input: list[bool] = []
        users: list[list[int]] = [[] for _ in graph.nodes]
        for position, node in enumerate(graph.nodes):
            from_input.append(node.op == "input" or any(i is not None and from_input[i] for i in node.inputs))
            for source in {i for i in node.inputs if i is not None}:
                users[source].append(position)
        return cls(graph, from_input, users)

    def has_layer_after(self, position: int) -> bool:
        """Whether another layer with weights takes what this node gives, directly or not."""
        waiting, seen = list(self.users[position]), set()
        while waiting:
            k = waiting.pop()
            if self.graph.nodes[k].op in (*_WEIGHTED, "matmul"):
                return True
            if k not in seen:
                seen.add(k)
                waiting += self.users[k]
        return False


def _merged_norm(place: _Places, position: int) -> Merged:
    """Weights and bias of a layer together with the batch normalization that alone takes what it gives.

    Normalization y = s (x - mean) + shift with s = gamma / sqrt(var + eps) of a sum x = w . i + b is the sum of s w and
    s (b - mean) + shift.
    """
    graph, users = place.graph, place.users[position]
    norm = graph.nodes[users[0]] if len(users) == 1 and position not in graph.outputs else None
    stored = {**graph.parameters, **graph.buffers, **graph.constants}
    arrays = [] if norm is None else [None if i is None else stored.get(graph.nodes[i].name) for i in norm.inputs[1:5]]
    if norm is None or norm.op != "batch_norm" or len(arrays) < 4:
        return lambda w, b: (w, b)
    gamma, beta, mean, var = arrays
    if mean is None or var is None:  # normalized by the statistics of the batch
        return lambda w, b: (w, b)
    s = 1 / np.sqrt(var + norm.options["eps"]) * (1 if gamma is None else gamma)
    shift = 0 if beta is None else beta

    def merged(w: Array, b: Array | None) -> tuple[Array, Array | None]:
        axis = 1 if graph.nodes[position].op == "conv_transpose2d" else 0
        if len(s) != w.shape[axis]:
            return w, b
        shape = [1] * w.ndim
        shape[axis] = -1
        return w * s.reshape(shape), s * (-mean if b is None else b - mean) + shift

    return merged
