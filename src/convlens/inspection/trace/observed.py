"""One pass of a network on one image, seen twice: PyTorch's own numbers, and a NumPy graph of the same operations.

The network runs once, as it is, under a probe. What it asked PyTorch for becomes a graph; the graph runs in float64. So
each number of the pass is there twice, and the second one can be taken apart.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from convlens.base.errors import InputError
from convlens.classify.caller import undisturbed
from convlens.classify.outputs import run, tensors_in
from convlens.inspection.execution import unchanged
from convlens.inspection.probe import Op, Probe, refuse_scripted
from convlens.models.lazy import settled
from convlens.models.random_state import same_random_state
from convlens.nn.private import schema, uncompiled
from convlens.scratch.from_torch.recorded import Recorded, Step, from_record
from convlens.scratch.graph import Graph
from convlens.scratch.node import LEAVES, Node
from convlens.scratch.operation import Call

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Observed:
    """What a network did for one image.

    Attributes:
        graph: its operations, with arrays in float64.
        calls: each node at work on the image, in float64.
        torch: by position of a node, what PyTorch gave there, in its own type. Nodes between have none.
        module: class of the network.
        paths: of all modules of the network.
        notes: what has to be said about the pass, in sentences.
        from_image: for each node whether the image lies behind it.
    """

    graph: Graph
    calls: list[Call]
    torch: dict[int, Array]
    module: str
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()
    from_image: list[bool] = field(default_factory=list)

    @property
    def nodes(self) -> list[Node]:
        return self.graph.nodes

    @property
    def image(self) -> int:
        """The position of the input."""
        return next(i for i, node in enumerate(self.nodes) if node.op == "input")


def observe(module: nn.Module, image: Tensor | Array) -> Observed:
    """Runs a network once, in inference mode, and its graph in float64.

    Args:
        module: any network that takes one tensor. Weights, modes, attributes, gradients, random state stay as they are.
        image: float [1, ...], the network's input.

    Raises:
        InputError: the network cannot run on such an input, or asks for an operation that the NumPy engine lacks.
    """
    refuse_scripted(module)
    module = uncompiled(module)
    with undisturbed():
        x = _as_input(module, image)
        module = settled(module, tuple(x.shape[1:]))
        ops, recorded = _recorded(module, x)
    graph = recorded.graph.astype(np.float64)
    calls = graph.run(x.double().cpu().numpy()).calls
    values: dict[int, Array] = {}
    for op, position in zip(ops, recorded.positions, strict=True):
        if position is not None and op.values[0] is not None:
            value = op.values[0].to("cpu", torch.promote_types(op.values[0].dtype, torch.float32)).numpy()
            if value.shape == np.shape(calls[position].output):
                values[position] = value
    names = tuple(path for path, _ in module.named_modules(remove_duplicate=False))
    return Observed(graph, calls, values, type(module).__name__, names, _notes(ops), _from_image(graph))


def _as_input(module: nn.Module, image: Tensor | Array) -> Tensor:
    """The image where the network is and of its type; of its own floating type where the network has no numbers."""
    x = torch.as_tensor(image).detach()
    x = x if x.is_floating_point() else x.float()
    first = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), x)
    return x.to(first.device, first.dtype)


def _recorded(module: nn.Module, x: Tensor) -> tuple[list[Op], Recorded]:
    """What the network asked for, and the graph of it."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}  # the pass may write into them
    names = {id(p): name for name, p in reversed(list(module.named_parameters(remove_duplicate=False)))}
    names |= {id(buffer): name for name, buffer in buffers.items()}
    with unchanged(module, False), same_random_state(), torch.no_grad():
        with Probe(module, (), operations="asked") as probe:
            output = run(lambda x: functional_call(module, buffers, (x,)), x)
        outputs = tensors_in(output)
        if not outputs:
            raise InputError(f"{type(module).__name__} returned no tensor")
        ops = probe.operations
        steps = [Step(op.overload, op.arguments, _output(op), probe.calls[op.module].path) for op in ops]
        return ops, from_record(module, steps, x, outputs, names)


def _output(op: Op) -> Tensor | tuple[Tensor | None, ...] | None:
    """A tensor, or several where the operation returns several or a list of them."""
    form = schema(op.overload)
    returns = form.returns if form is not None else ()
    several = len(returns) > 1 or (returns and str(returns[0].type).startswith("List"))
    return op.outputs if several else op.outputs[0]


def _notes(ops: list[Op]) -> tuple[str, ...]:
    if any(op.outputs and all(output is None for output in op.outputs) for op in ops):
        return ("the network asks for values while it runs: this is the branch that it took for this image",)
    return ()


def _from_image(graph: Graph) -> list[bool]:
    """For each node whether the image lies behind it."""
    found: list[bool] = []
    for node in graph.nodes:
        found.append(
            node.op == "input" or (node.op not in LEAVES and any(found[i] for i in node.inputs if i is not None))
        )
    return found
