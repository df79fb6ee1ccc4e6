"""Reads an exported program from top to bottom and puts the graph together; see the package."""

import operator
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from convlens.base.errors import InputError
from convlens.nn import private
from convlens.scratch.from_torch import dtypes, folding
from convlens.scratch.from_torch.aliases import Aliases, Cut, Value
from convlens.scratch.from_torch.aten import HANDLERS
from convlens.scratch.from_torch.translation import Missing, Out
from convlens.scratch.graph import Graph, Node, Ref

Array = np.ndarray

_INTEGERS = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.floordiv: "floordiv",
    operator.mod: "mod",
    operator.neg: "neg",
}
_IGNORED = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range_for_size", "sym_constrain_range")
_CUTS = ("take", "reshape", "flatten", "permute", "broadcast", "stop_gradient")
_RESHAPING = ("transpose", "t", "squeeze", "unsqueeze", "swapaxes", "swapdims")
_ONLY_TORCH = "this network runs in the PyTorch engine only"


class Builder:
    """Reads an exported program from top to bottom and puts the graph together."""

    def __init__(self, module: nn.Module, program: Any):  # a torch.export.ExportedProgram, or a recorded.Program
        self.module, self.program = module, program
        self.modules = dict(module.named_modules(remove_duplicate=False))
        self.nodes: list[Node] = []
        self.sources: list[str] = []  # by node: the operation of the program that it belongs to
        self.names: set[str] = set()
        self.arrays: dict[str, dict[str, Array]] = {"parameter": {}, "buffer": {}, "constant": {}}
        self.values: dict[fx.Node, Any] = {}  # Value, Ref, Missing, or a tuple of them
        self.folded: dict[fx.Node, Any] = {}  # tensors that are known already
        self.leaves: dict[Any, Out] = {}  # by tensor: tied parameters are one
        self.counts: dict[str, Out] = {}  # buffers that count batches, where they are needed
        self.draws = 0
        self.result_dtype = ""
        self.training = module.training
        self.differentiable = True  # False inside torch.no_grad()
        self.current: fx.Node | None = None
        self.aliases = Aliases(self.emit)

    def graph(self, input_shape: tuple[int, ...]) -> Graph:
        """The graph of the whole program."""
        specs = {s.arg.name: s for s in self.program.graph_signature.input_specs}
        constant = folding.constant_nodes(self.program.graph, {n for n, s in specs.items() if self._is_fixed(s)})
        outputs: list[int] = []
        for node in self.program.graph.nodes:
            self.current = node
            if node.op == "placeholder":
                self._leaf(node, specs[node.name], input_shape, node in constant)
            elif node.op == "output":
                outputs = self._outputs()
            elif node in constant:
                self.folded[node] = folding.evaluate(node, self.folded)
            else:
                self.values[node] = self._step(node, self.program.graph_module)
        return Graph(self.nodes, outputs, self.arrays["parameter"], self.arrays["buffer"], self.arrays["constant"])

    # --- what the functions of `aten` call

    def emit(self, op: str, inputs: list[Out | None], **options: Any) -> Out:
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        positions = tuple(None if x is None else x.position for x in inputs)
        self._add(Node(self._unique(op), op, positions, options))
        return Out(len(self.nodes) - 1, ())

    def constant(self, array: Array) -> Out:
        name = self._free(".".join(filter(None, (self._where(), "constant"))))
        self.arrays["constant"][name] = array
        self._add(Node(name, "constant"))
        return Out(len(self.nodes) - 1, array.shape, str(array.dtype))

    def size(self, x: Out, axis: int) -> Any:
        known = x.shape[axis]
        return Ref(self.emit("size", [x], axis=axis).position) if known is None else known

    def wants(self, which: int) -> bool:
        users = [] if self.current is None else list(self.current.users)
        return any(u.target is operator.getitem and u.args[1] == which and u.users for u in users)

    def count_beside(self, mean: Out) -> Out | None:
        name = self.nodes[mean.position].name.rpartition(".")[0]
        name = f"{name}.num_batches_tracked" if name else "num_batches_tracked"
        return self.counts.get(name)

    def next_draw(self) -> int:
        self.draws += 1
        return self.draws - 1

    def _add(self, node: Node) -> None:
        self.nodes.append(node)
        self.sources.append("" if self.current is None else self.current.name)

    # --- leaves

    def _is_fixed(self, spec: Any) -> bool:
        """Whether a placeholder holds numbers that training does not change."""
        kind = spec.kind.name
        if kind == "BUFFER":
            return not self._tensor(kind, spec.target).is_floating_point() and not self._counts_for(spec.target)
        return kind == "CONSTANT_TENSOR"

    def _counts_for(self, name: str) -> bool:
        """Whether a buffer is the count of batches that a cumulative batch normalization divides by."""
        owner, _, last = name.rpartition(".")
        return last == "num_batches_tracked" and getattr(self.modules.get(owner), "momentum", 0) is None

    def _leaf(self, node: fx.Node, spec: Any, input_shape: tuple[int, ...], fixed: bool) -> None:
        kind = spec.kind.name
        key, shape, dtype = folding.memory_of(node), _sizes(node.meta["val"]), dtypes.name(node.meta["val"].dtype)
        if kind == "USER_INPUT":
            self.names.add(node.name)
            self._add(Node(node.name, "input", (), {"shape": input_shape}))
            self.values[node] = self.aliases.whole(Out(len(self.nodes) - 1, shape, dtype), key)
            return
        tensor = self._tensor(kind, spec.target)
        if fixed:
            self.folded[node] = tensor.detach().cpu()
        if id(tensor) not in self.leaves:
            op = {"PARAMETER": "parameter", "BUFFER": "buffer"}.get(kind, "constant")
            if not tensor.is_floating_point() and not self._counts_for(spec.target):
                op = "constant"
            if op == "parameter" and not tensor.requires_grad:
                op = "constant"
            self.arrays[op][spec.target] = dtypes.array(tensor).copy()
            self.names.add(spec.target)
            self._add(Node(spec.target, op))
            self.leaves[id(tensor)] = Out(len(self.nodes) - 1, shape, dtype)
        leaf = self.leaves[id(tensor)]
        if self._counts_for(spec.target):
            self.counts[spec.target] = leaf
        if self.aliases.knows(key):
            self.values[node] = self.aliases.opaque_view(leaf, key)
        else:
            self.values[node] = self.aliases.whole(leaf, key, owner=spec.target)

    def _tensor(self, kind: str, target: str) -> torch.Tensor:
        if kind == "PARAMETER":
            return self.module.get_parameter(target)
        if kind == "BUFFER" and target not in self.program.constants:
            return self.module.get_buffer(target)
        return self.program.constants[target]  # type: ignore[return-value]

    def _outputs(self) -> list[int]:
        by_name = {n.name: n for n in self.program.graph.nodes}
        specs = [s for s in self.program.graph_signature.output_specs if s.kind.name == "USER_OUTPUT"]
        found = [self._lookup(by_name[s.arg.name]) for s in specs if hasattr(s.arg, "name") and s.arg.name in by_name]
        return [dtypes.fitted(self, out).position for out in found if isinstance(out, Out)]

    # --- operations

    def _step(self, node: fx.Node, owner: torch.fx.GraphModule) -> Any:
        """What a node of the program (or of a part of it) stands for."""
        if node.op == "get_attr":
            return getattr(owner, str(node.target))
        if node.op != "call_function":
            raise InputError(f"{self._path()}: an exported {node.op} is not supported; {_ONLY_TORCH}")
        if str(node.target) == "wrap_with_set_grad_enabled":
            return self._inlined(node)
        if node.target is operator.getitem:
            return self.values[node.args[0]][node.args[1]]  # type: ignore[index]
        if node.target in _INTEGERS:
            operands = tuple(self._lookup(a) for a in node.args)
            return Ref(self.emit("integer", [], name=_INTEGERS[node.target], operands=operands).position)
        try:
            return self._operation(node)
        except InputError as error:
            raise InputError(f"{self._path()}: {error}") from None

    def _operation(self, node: fx.Node) -> Any:
        name, arguments = self._arguments(node)
        if name in _IGNORED:
            return None
        if name == "sym_size":
            return self.size(arguments["self"], arguments["dim"])
        targets = folding.written(node)
        if targets and self._only_counts(targets[0]):
            return self.values[targets[0]]
        base = name.removesuffix("_") if targets else name
        handler = HANDLERS.get(base)
        if handler is None or len(targets) > 1:
            raise InputError(f"the NumPy engine has no operation {name!r}; {_ONLY_TORCH}")
        self.result_dtype = dtypes.of_first(node.meta.get("val"))
        arguments = dtypes.promoted(self, base, arguments)
        result = handler(self, arguments)
        if base in _RESHAPING and targets:  # `x.unsqueeze_(1)` writes nothing: the name stands for a view from here on
            self.values[targets[0]] = self._valued(node, result)
            return self.values[targets[0]]
        return self._overwritten(targets[0], result) if targets else self._valued(node, result)

    def _arguments(self, node: fx.Node) -> tuple[str, dict[str, Any]]:
        """The operator's name, and its arguments by their names in its schema."""
        schema = private.schema(node.target)
        if schema is None:
            raise InputError(f"the NumPy engine has no operation {node.target}; {_ONLY_TORCH}")
        arguments = {a.name: a.default_value for a in schema.arguments}
        arguments |= {a.name: value for a, value in zip(schema.arguments, node.args, strict=False)}
        arguments |= node.kwargs
        return schema.name.split("::")[1], {key: self._lookup(value) for key, value in arguments.items()}

    def _lookup(self, value: Any) -> Any:
        """What an argument stands for: nodes become `Out` (as their memory is now) or `Ref`."""
        if isinstance(value, fx.Node):
            if value in self.folded:
                return self._folded_leaf(self.folded[value])
            found = self.values[value]
            if isinstance(found, Missing):
                raise InputError(f"the NumPy engine does not compute {found.what}; {_ONLY_TORCH}")
            return self.aliases.read(found) if isinstance(found, Value) else found
        if isinstance(value, (list, tuple)):
            return [self._lookup(item) for item in value]
        return value

    def _folded_leaf(self, tensor: torch.Tensor) -> Out:
        """A known tensor as a leaf, as it is now: a program may write into it later."""
        key = (id(tensor), private.version(tensor))
        if key not in self.leaves:
            out = self.constant(dtypes.array(tensor).copy())
            self.leaves[key] = Out(out.position, tuple(tensor.shape), dtypes.name(tensor.dtype))
        return self.leaves[key]

    def _overwritten(self, target: fx.Node, result: Out) -> Value:
        """The value that was written into, as it is now."""
        value = self.values[target]
        if not self.differentiable:
            raise InputError(f"it writes in place under torch.no_grad(); {_ONLY_TORCH}")
        old = value.out
        new = dtypes.cast(self, Out(result.position, old.shape, result.dtype or old.dtype), old.dtype)
        self.aliases.write(value, Out(new.position, old.shape, old.dtype))
        return value

    def _valued(self, node: fx.Node, result: Any) -> Any:
        """The outputs of an operation with the memory that they look into."""
        meta = node.meta.get("val")
        if isinstance(result, tuple):
            metas = meta if isinstance(meta, (list, tuple)) else [None] * len(result)
            return tuple(self._value(node, r, m) for r, m in zip(result, metas, strict=False))
        return self._value(node, result, meta)

    def _value(self, node: fx.Node, out: Any, meta: Any) -> Any:
        if not isinstance(out, Out) or not isinstance(meta, torch.Tensor):
            return out
        out = Out(out.position, _sizes(meta), dtypes.name(meta.dtype))
        parents = [v for n in node.all_input_nodes if isinstance(v := self.values.get(n), Value)]
        if not self.differentiable:
            return self._value_without_gradient(out, parents)
        key = private.storage(meta)
        if not self.aliases.knows(key):
            return self.aliases.whole(out, key)
        made = self.nodes[out.position]
        for parent in parents:
            if self.aliases.is_in(parent, key):
                if parent.out.position == out.position:
                    return self.aliases.view(out, parent, Cut("identity"))
                if made.op in _CUTS and made.inputs == (parent.out.position,):
                    return self.aliases.view(out, parent, Cut(made.op, made.options))
        return self.aliases.opaque_view(out, key)

    def _value_without_gradient(self, out: Out, parents: list[Value]) -> Value:
        """Inside torch.no_grad(): memory is not followed exactly there, so what may be a view is opaque."""
        made = self.nodes[out.position]
        stopped = Out(self.emit("stop_gradient", [out]).position, out.shape, out.dtype)
        for parent in parents:
            if out.position == parent.out.position or (made.op in _CUTS and parent.out.position in made.inputs):
                return Value(stopped, parent.storage, parent.storage.version, opaque=True)
        return self.aliases.whole(stopped, object())

    def _inlined(self, node: fx.Node) -> tuple[Any, ...]:
        """The part of a program that runs with gradients switched off (or on again)."""
        enabled, part, *given = node.args
        graph_module = self.values[part]  # type: ignore[index]
        before, self.differentiable = self.differentiable, self.differentiable and bool(enabled)
        outputs: Any = ()
        for inner in graph_module.graph.nodes:
            self.current = inner
            if inner.op == "placeholder":
                self._pass_in(inner, given.pop(0))
            elif inner.op == "output":
                outputs = tuple(self.values[n] for n in inner.args[0])
            else:
                self.values[inner] = self._step(inner, graph_module)
        self.differentiable, self.current = before, node
        return outputs

    def _pass_in(self, inner: fx.Node, outer: Any) -> None:
        if outer in self.folded:
            self.folded[inner] = self.folded[outer]
        self.values[inner] = self.values.get(outer) if isinstance(outer, fx.Node) else outer

    def _only_counts(self, target: fx.Node) -> bool:
        """Whether a write only counts batches (batch norm's `num_batches_tracked += 1`) and nothing reads the count."""
        while folding.written(target):
            target = folding.written(target)[0]
        tensor = target.meta.get("val")
        if target.op != "placeholder" or not isinstance(tensor, torch.Tensor) or tensor.is_floating_point():
            return False
        return self._only_written(target)

    def _only_written(self, node: fx.Node) -> bool:
        return all(node in folding.written(user) and self._only_written(user) for user in node.users)

    # --- names

    def _where(self) -> str:
        """The path of the module that the current operation stands in; empty for the network itself."""
        stack = (self.current.meta.get("nn_module_stack") if self.current is not None else None) or {}
        path = str(list(stack.values())[-1][0]) if stack else ""
        path = path.removeprefix("L['self']").removeprefix(".")
        return path if path in self.modules else ""

    def _path(self) -> str:
        """The same for people, with the module's class."""
        path = self._where()
        kind = type(self.modules[path]).__name__
        return f"{path} ({kind})" if path else kind

    def _unique(self, op: str) -> str:
        """A layer's node is called as its module; whatever else happens in a module, after its operation."""
        path = self._where()
        leaf = bool(path) and not any(True for _ in self.modules[path].children())
        last = self.current.name if self.current is not None else op
        return self._free(path if leaf else f"{path}.{last}" if path else last)

    def _free(self, name: str) -> str:
        """The name, with a number if it is taken."""
        unique, count = name, 1
        while unique in self.names:
            count += 1
            unique = f"{name}#{count}"
        self.names.add(unique)
        return unique


def _sizes(value: Any) -> tuple[int | None, ...]:
    """A shape with None for sizes that depend on the batch."""
    return tuple(s if isinstance(s, int) else None for s in getattr(value, "shape", ()))
