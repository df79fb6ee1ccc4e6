"""A network as a graph of operations: forward, and backward by walking it in reverse. NumPy alone.

A graph is a list of nodes in an order in which every node comes after its inputs, so any network without loops can be
written: residual additions, Inception's concatenations, dense blocks. Leaves are inputs, parameters (trained), buffers
(running statistics) and constants; every other node applies one operation of `convlens.ops`.

Forward walks the list and keeps what backward needs on a tape. Backward walks it in reverse: each node receives the
sum of the gradients from all its users, and hands each of its inputs a share (the chain rule). A parameter that is used
twice (tied weights) therefore receives one gradient, the sum of both.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.base.files import explained, write_bytes
from convlens.scratch.node import LEAVES, Node, Ref, references, resolved
from convlens.scratch.operations import OPERATIONS, Call, Mode

__all__ = ["LEAVES", "Gradients", "Graph", "Node", "Ref", "Rule", "Rules", "Tape"]

Array = np.ndarray
Watch = Callable[[Node, Array], None]
Rule = Callable[[Call, Array], Sequence[Array | None]]
Rules = Callable[[Node], Rule | None]


@dataclass
class Gradients:
    """What backward gives.

    Attributes:
        parameters: the gradient of each parameter, by name.
        inputs: of each input; None where it was not wanted.
    """

    parameters: dict[str, Array]
    inputs: list[Array | None]


class Tape:
    """One forward pass, with all that its backward pass needs. Made by `Graph.run`.

    Attributes:
        outputs: what the network gave.
        calls: each node at work, in the order of the graph's nodes; empty after `backward`.
    """

    def __init__(self, graph: "Graph", calls: list[Call], outputs: list[Array]):
        self.outputs, self.calls = outputs, calls
        self._graph = graph

    @property
    def output(self) -> Array:
        """The first output."""
        return self.outputs[0]

    def value(self, name: str) -> Array:
        """What the node of that name gave."""
        position = next((i for i, node in enumerate(self._graph.nodes) if node.name == name), None)
        if position is None:
            raise InputError(f"there is no node {name!r} in this graph")
        return self._unused()[position].output

    def backward(
        self, *grads: Array | None, inputs: bool = False, watch: Watch | None = None, rules: Rules | None = None
    ) -> Gradients:
        """Gradients of sum_i sum(grads[i] * outputs[i]). The tape can be used once: it frees values on the way.

        Args:
            grads: one array for each output, of its shape; None for an output that does not count.
            inputs: whether the gradients of the inputs are wanted too; without them some work is saved.
            watch: called with each node that has a gradient, and the gradient of its output.
            rules: gives for a node what takes the place of its derivative, `rule(call, grad)` with a share for each
                input; or None, where the derivative stays. What arrives is then no gradient, but what the rules make.
        """
        nodes, wanted, pending = self._graph.nodes, self._graph.differentiable(inputs), self._start(grads)
        for position in range(len(nodes) - 1, -1, -1):  # every node after all its users
            node, call = nodes[position], self.calls.pop()
            if node.op in LEAVES or not wanted[position] or position not in pending:
                continue
            grad = pending.pop(position)
            if watch is not None:
                watch(node, grad)
            call.needs = tuple(i is not None and wanted[i] for i in node.inputs)
            rule = rules(node) if rules is not None else None
            shares = (rule or OPERATIONS[node.op].backward)(call, grad)  # the chain rule
            for source, share, needed in zip(node.inputs, shares, call.needs, strict=False):
                if needed and source is not None and share is not None:
                    pending.add(source, share)
        return self._gradients(pending)

    def _unused(self) -> list[Call]:
        if not self.calls:
            raise InputError("this tape was used already by `backward`; run the graph again")
        return self.calls

    def _start(self, grads: Sequence[Array | None]) -> "_Sums":
        """The gradients of the outputs, each at the position of its node."""
        self._unused()
        pending = _Sums()
        for position, output, grad in zip(self._graph.outputs, self.outputs, grads, strict=True):
            if grad is None:
                continue
            grad = np.asarray(grad, output.dtype)
            if grad.shape != output.shape:
                raise InputError(f"grads: shape {grad.shape}, expected {output.shape}, the shape of the output")
            pending.add(position, grad)
        return pending

    def _gradients(self, pending: "_Sums") -> Gradients:
        """What has arrived at parameters and inputs; zeros for a parameter that no output depends on."""
        parameters: dict[str, Array] = {}
        found: list[Array | None] = []
        for position, node in enumerate(self._graph.nodes):
            grad = pending.pop(position) if position in pending else None
            if node.op == "parameter":
                parameters[node.name] = np.zeros_like(self._graph.parameters[node.name]) if grad is None else grad
            elif node.op == "input":
                found.append(grad)
        return Gradients(parameters, found)


class _Sums:
    """Gradients on their way to their nodes. What arrives first is kept as it is; more is added to a fresh array."""

    def __init__(self) -> None:
        self._sums: dict[int, Array] = {}
        self._own: set[int] = set()

    def add(self, position: int, grad: Array) -> None:
        if position not in self._sums:
            self._sums[position] = grad
        elif position in self._own:
            self._sums[position] += grad
        else:  # the first array may belong to someone else, so it is never written to
            self._sums[position] = self._sums[position] + grad
            self._own.add(position)

    def __contains__(self, position: int) -> bool:
        return position in self._sums

    def pop(self, position: int) -> Array:
        return self._sums.pop(position)


class Graph:
    """A network: nodes, the positions of those whose values are its outputs, and its arrays by name.

    Attributes:
        parameters: trained arrays; optimizers write into them.
        buffers: running statistics; replaced by every forward pass in training mode.
        constants: everything else that the network holds.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        outputs: Sequence[int],
        parameters: Mapping[str, Array],
        buffers: Mapping[str, Array] | None = None,
        constants: Mapping[str, Array] | None = None,
    ):
        self.nodes, self.outputs = list(nodes), list(outputs)
        self.parameters, self.buffers = dict(parameters), dict(buffers or {})
        self.constants = dict(constants or {})
        self._last_use = self._last_uses()

    def __call__(self, *inputs: Array) -> Any:
        """Inference: the output for a batch (a tuple of them where the network has several). Keeps no tape."""
        outputs = self._forward(inputs, Mode(), keep=False)[1]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, *inputs: Array, training: bool = False, seed: int = 0, step: int = 0) -> Tape:
        """Forward with a tape.

        Args:
            inputs: one array for each input node, [N, ...].
            training: dropout drops, batch normalization uses the batch's statistics and updates the running ones.
            seed, step: the address of the dropout masks: the same address, the same masks.
        """
        calls, outputs = self._forward(inputs, Mode(training, seed, step), keep=True)
        return Tape(self, [call for call in calls if call is not None], outputs)

    def differentiable(self, inputs: bool) -> list[bool]:
        """For each node whether a parameter (or, if asked for, an input) lies behind it."""
        wanted: list[bool] = []
        for node in self.nodes:
            if node.op in LEAVES:
                wanted.append(node.op == "parameter" or (inputs and node.op == "input"))
            else:
                wanted.append(any(i is not None and wanted[i] for i in node.inputs))
        return wanted

    def used(self) -> set[str]:
        """The names of the nodes on which an output depends."""
        behind = set(self.outputs)
        for position in range(len(self.nodes) - 1, -1, -1):
            if position in behind:
                node = self.nodes[position]
                behind |= {i for i in (*node.inputs, *references(node.options)) if i is not None}
        return {self.nodes[position].name for position in behind}

    def astype(self, dtype: Any) -> "Graph":
        """The same network with its arrays in another floating type."""

        def cast(arrays: dict[str, Array]) -> dict[str, Array]:
            return {k: a.astype(dtype) if a.dtype.kind == "f" else a for k, a in arrays.items()}

        return Graph(self.nodes, self.outputs, cast(self.parameters), cast(self.buffers), cast(self.constants))

    def state(self) -> dict[str, Array]:
        """Parameters and buffers by name, not copied."""
        return {**self.parameters, **self.buffers}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Takes over parameters and buffers, converted to the types that they have here.

        Raises:
            InputError: a name is missing or unknown, or a shape differs; nothing is changed then.
        """
        own = self.state()
        if missing := sorted(own.keys() - state.keys()):
            raise InputError(f"the weights lack {', '.join(missing[:3])}{' and more' if missing[3:] else ''}")
        if unknown := sorted(state.keys() - own.keys()):
            raise InputError(f"this network has no {', '.join(unknown[:3])}{' and more' if unknown[3:] else ''}")
        for name, array in own.items():
            if np.shape(state[name]) != array.shape:
                raise InputError(f"{name}: shape {np.shape(state[name])}, expected {array.shape}")
        for arrays in (self.parameters, self.buffers):
            for name, array in arrays.items():
                arrays[name] = np.array(state[name], array.dtype)

    def save(self, path: str | Path) -> None:
        """Writes parameters and buffers as a safetensors file."""
        from safetensors.numpy import save

        write_bytes(Path(path), save({k: np.asarray(a, order="C") for k, a in self.state().items()}))

    def load(self, path: str | Path) -> None:
        """Reads what `save` wrote, or any safetensors file with the same names and shapes."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        with explained("read", path):
            try:
                data = Path(path).read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                raise InputError(f"there is no file {path}") from None
        try:
            state = load(data)
        except SafetensorError as error:
            raise InputError(f"{path} is not a safetensors file: {error}") from None
        self.load_state(state)

    def _forward(self, inputs: Sequence[Any], mode: Mode, *, keep: bool) -> tuple[list[Call | None], list[Array]]:
        """Calls of all nodes (what is not needed any more is dropped at once unless `keep`), and the outputs."""
        calls: list[Call | None] = []
        leaves = iter(inputs)
        expected = sum(node.op == "input" for node in self.nodes)
        if len(inputs) != expected:
            raise InputError(f"inputs: {len(inputs)} arrays, expected {expected}")
        for position, node in enumerate(self.nodes):
            if node.op in LEAVES:
                calls.append(Call((), {}, mode, output=self._leaf(node, leaves)))
            else:
                calls.append(self._apply(node, calls, mode))
            if not keep:
                for done in self._last_use[position]:
                    calls[done] = None
        return calls, [call.output for i in self.outputs if (call := calls[i]) is not None]

    def _leaf(self, node: Node, inputs: Iterable[Any]) -> Array:
        if node.op == "input":
            x = np.asarray(next(iter(inputs)))
            shape = node.options.get("shape")
            if shape is not None and x.shape[1:] != tuple(shape):
                raise InputError(f"{node.name}: shape {x.shape}, expected (N, {', '.join(map(str, shape))})")
            return x
        arrays = {"parameter": self.parameters, "buffer": self.buffers, "constant": self.constants}[node.op]
        return arrays[node.name]

    def _apply(self, node: Node, calls: list[Call | None], mode: Mode) -> Call:
        arrays = tuple(None if i is None else calls[i].output for i in node.inputs)  # type: ignore[union-attr]
        options = resolved(node.options, calls)
        call = Call(arrays, options, mode)
        try:
            call.output = OPERATIONS[node.op].forward(call)
        except InputError as error:
            raise InputError(f"{node.name} ({node.op}): {error}") from error
        for which, array in call.updates.items():  # new running statistics, by the position of the old ones
            source = node.inputs[which]
            assert source is not None
            self.buffers[self.nodes[source].name] = array
            leaf = calls[source]  # a layer that is used twice goes on from its own update
            if leaf is not None:
                leaf.output = array
        return call

    def _last_uses(self) -> list[list[int]]:
        """For each position, the nodes whose values are not needed after it."""
        last = list(range(len(self.nodes)))
        for position, node in enumerate(self.nodes):
            for source in (*node.inputs, *references(node.options)):
                if source is not None:
                    last[source] = position
        done: list[list[int]] = [[] for _ in self.nodes]
        for source, position in enumerate(last):
            if source not in self.outputs:
                done[position].append(source)
        return done
