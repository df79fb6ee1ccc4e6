"""Sums of which rounding leaves a rest: what a tensor is judged by that is almost zero because its terms cancel."""

from dataclasses import dataclass, field

import numpy as np

from convlens.scratch.graph import Graph, Node, Tape

Array = np.ndarray

# Which inputs of an operation shift or scale whole channels. Their gradients are sums over the batch and all positions,
# and where a later batch normalization takes the shift or the scale out again, the terms cancel: what is left is a
# small residue, or nothing but rounding. Such a sum is judged by its terms: the difference is taken relative to
# max|b| or a thousandth of the sum of the terms' magnitudes, whichever is larger.
SUMS = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv_transpose2d"), (2,)),
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "instance_norm"), (1, 2)),
    **dict.fromkeys(("add", "subtract"), (0, 1)),
}
RESIDUE = 1e-3


def summed(graph: Graph) -> set[str]:
    """The parameters whose gradients are such sums."""
    return {
        graph.nodes[source].name
        for node in graph.nodes
        for place in SUMS.get(node.op, ())
        if place < len(node.inputs) and (source := node.inputs[place]) is not None
    }


@dataclass
class Magnitudes:
    """Watches a backward pass: for each parameter, the sum of the magnitudes of its gradient's terms.

    That is sum |g| / (its size), g the gradients of the outputs of the nodes that use it. The gradient of a bias is a
    sum of these g: far below its magnitude, it is a zero that rounding has left.
    """

    graph: Graph
    found: dict[str, float] = field(default_factory=dict)

    def __call__(self, node: Node, grad: Array) -> None:
        for source in node.inputs:
            if source is not None and (used := self.graph.nodes[source]).op == "parameter":
                terms = float(np.abs(grad).sum()) / self.graph.parameters[used.name].size
                self.found[used.name] = self.found.get(used.name, 0.0) + terms


def deviations(graph: Graph, tape: Tape) -> dict[str, Array]:
    """For each running mean, by name: the standard deviation of its channels in this batch, as far as kept."""
    found: dict[str, Array] = {}
    for node, call in zip(graph.nodes, tape.calls, strict=True):
        if node.op in ("batch_norm", "running_instance_norm") and call.saved is not None:
            source = node.inputs[3] if len(node.inputs) > 3 else None
            if source is not None:
                found[graph.nodes[source].name] = np.sqrt(call.saved.var)
    return found
