"""The graph of what one pass ran: for one input, with the branches that its values took.

`from_torch` asks `torch.export` for a program that holds for every input. A record of a pass holds for one input only,
but it is there for any network, control flow that depends on values included, and needs no compiler.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from convlens.scratch.from_torch.builder import Builder
from convlens.scratch.graph import Graph


@dataclass(frozen=True)
class Step:
    """One operation of a pass, as it was asked for.

    Attributes:
        operator: of PyTorch's operator library.
        arguments: by name, with the tensors of the pass.
        output: what it returned: a tensor, several, or what is no tensor.
        path: of the module that asked for it.
    """

    operator: Any
    arguments: Mapping[str, Any]
    output: Any
    path: str


class Recorded(NamedTuple):
    """The graph, and for each step the position of the node that gives its (first) output; None if there is none."""

    graph: Graph
    positions: list[int | None]


class _Named(NamedTuple):
    name: str


class _Spec(NamedTuple):
    """As in the signature of an exported program."""

    arg: _Named
    kind: _Named
    target: str


@dataclass
class _Signature:
    input_specs: list[_Spec] = field(default_factory=list)
    output_specs: list[_Spec] = field(default_factory=list)


@dataclass
class Program:
    """What `Builder` reads: the part of `torch.export.ExportedProgram` that it looks at."""

    graph: fx.Graph = field(default_factory=fx.Graph)
    graph_signature: _Signature = field(default_factory=_Signature)
    constants: dict[str, Tensor] = field(default_factory=dict)
    graph_module: Any = None


def from_record(
    module: nn.Module, steps: Sequence[Step], image: Tensor, outputs: Sequence[Tensor], state: Mapping[int, str]
) -> Recorded:
    """The graph of the steps of one pass, with copies of the module's arrays.

    Args:
        module: the network, in inference mode.
        image: its input, [N, ...].
        outputs: what it returned.
        state: names of its parameters and buffers, by `id` of the tensors that stood for them in the pass.

    Raises:
        InputError: an operation that the NumPy engine lacks.
    """
    writer = _Writer(module, image, state)
    nodes = [writer.step(step) for step in steps]
    for tensor in outputs:
        node = writer.known.get(id(tensor)) or writer.leaf(tensor)
        writer.program.graph_signature.output_specs.append(_Spec(_Named(node.name), _Named("USER_OUTPUT"), ""))
    writer.program.graph.output(None)
    builder = Builder(module, writer.program)
    graph = builder.graph(tuple(image.shape[1:]))
    made = {name: position for position, name in enumerate(builder.sources)}  # the last node of each operation
    return Recorded(graph, [None if node is None else made.get(node.name) for node in nodes])


class _Writer:
    """Writes the steps down as a program."""

    def __init__(self, module: nn.Module, image: Tensor, state: Mapping[int, str]):
        self.program, self.module, self.state = Program(), module, state
        self.known: dict[int, fx.Node] = {}
        self.parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        self._placeholder("image", image, "USER_INPUT", "image")

    def step(self, step: Step) -> fx.Node | None:
        """The node of a step; None where it gave no tensor (a number of Python: it stands in later arguments)."""
        several = isinstance(step.output, (list, tuple))
        tensors = [t for t in (step.output if several else [step.output]) if isinstance(t, Tensor)]
        if not tensors:
            return None
        name = step.operator.overloadpacket.__name__
        if name.startswith("lift_fresh"):  # a tensor that Python made of numbers
            self.known.pop(id(tensors[0]), None)
            self.leaf(tensors[0])
            return None
        if name == "detach_":  # of a fresh tensor: nothing is computed
            return self.known.get(id(tensors[0]))
        arguments = map_aggregate(dict(step.arguments), self._argument)
        node = self.program.graph.create_node("call_function", step.operator, (), arguments, name)
        node.meta = {"val": step.output, "nn_module_stack": {step.path: (step.path, "")}}
        if not several:
            self.known[id(tensors[0])] = node
            return node
        for index, tensor in enumerate(step.output):
            if isinstance(tensor, Tensor):
                part = self.program.graph.call_function(operator.getitem, (node, index))
                part.meta = {**node.meta, "val": tensor}
                self.known[id(tensor)] = part
        return node

    def leaf(self, tensor: Tensor) -> fx.Node:
        """A parameter, a buffer, or a tensor that was there before or came from outside of PyTorch."""
        name = self.state.get(id(tensor))
        if name is not None:
            kind = "PARAMETER" if name in self.parameters else "BUFFER"
            return self._placeholder(name.replace(".", "_"), tensor, kind, name)
        name = f"constant_{len(self.program.constants)}"
        self.program.constants[name] = tensor.detach().clone()
        return self._placeholder(name, tensor, "CONSTANT_TENSOR", name)

    def _argument(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return self.known.get(id(value)) or self.leaf(value)

    def _placeholder(self, name: str, tensor: Tensor, kind: str, target: str) -> fx.Node:
        node = self.program.graph.placeholder(name)
        node.meta = {"val": tensor}
        self.known[id(tensor)] = node
        self.program.graph_signature.input_specs.append(_Spec(_Named(node.name), _Named(kind), target))
        return node
