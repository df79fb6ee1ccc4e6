"""An `nn.Module` as a graph with the same arrays, by way of `torch.export`.

The exported program is a list of calls to PyTorch's operators, without Python's control flow. Each becomes a node or
a few (see `aten`); parameters and buffers keep their names. A parameter that is used under two names is one parameter
here, under its first name.
"""

import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from convlens.base.errors import InputError
from convlens.scratch.aten import HANDLERS, Out
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


def from_torch(module: nn.Module, input_shape: Sequence[int], *, batch: int = 4, dynamic: bool = True) -> Graph:
    """The graph of a module, in the mode that the module is in (training or not), with copies of its arrays.

    A module in training mode gives a graph that can be run both ways: with `training=True` it drops out and normalises
    as the module would now, without as the module would in inference. (A module that takes another path in inference,
    as GoogLeNet does without its auxiliary heads, has to be converted once in each mode: `training_pair`.)

    Args:
        module: takes one tensor [N, *input_shape], gives a tensor or a tuple of tensors.
        input_shape: of one sample, such as (3, 32, 32).
        batch: size of the batch with which the module is traced.
        dynamic: whether the graph is to take batches of any size; otherwise sizes may be fixed to `batch`.

    Raises:
        InputError: the module cannot be traced (control flow that depends on values), or holds an operation that the
            NumPy engine lacks; the message names it and the module it stands in.
    """
    program = _export(module, tuple(input_shape), batch, dynamic)
    return _Builder(module, program).graph(tuple(input_shape))


def training_pair(module: nn.Module, input_shape: Sequence[int]) -> tuple[Graph, Graph]:
    """The graphs for training and for inference, which share their arrays. The module's mode is left as it is."""
    modes = {m: m.training for m in module.modules()}
    try:
        trained = from_torch(module.train(), input_shape)
        evaluated = from_torch(module.eval(), input_shape)
    finally:
        for m, mode in modes.items():
            m.training = mode
    evaluated.parameters, evaluated.buffers = trained.parameters, trained.buffers
    return trained, evaluated


def write_back(graph: Graph, module: nn.Module) -> None:
    """Copies the graph's parameters and buffers into the module that it was made from."""
    targets = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, array in graph.state().items():
            if name not in targets:
                raise InputError(f"the module has no {name}: the graph was made from another one")
            targets[name].copy_(torch.from_numpy(np.array(array)))


def _export(module: nn.Module, shape: tuple[int, ...], batch: int, dynamic: bool) -> torch.export.ExportedProgram:
    parameter = next(module.parameters(), torch.empty(0))
    example = torch.zeros(batch, *shape, dtype=parameter.dtype, device=parameter.device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes = ({0: torch.export.Dim.AUTO},) if dynamic else None
            return torch.export.export(module, (example,), dynamic_shapes=sizes)
    except InputError:
        raise
    except Exception as error:  # export wraps what goes wrong in many types
        if "DataDependent" in f"{type(error).__name__} {error}":
            raise InputError(
                f"{type(module).__name__} cannot be traced: its forward chooses its path by the values of a tensor "
                "(an `if` or a loop on them); such a network runs in PyTorch only"
            ) from error
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"{type(module).__name__} cannot be traced for an input of shape {shape}: {first}") from error


class _Builder:
    """Reads an exported program from top to bottom and puts the graph together."""

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram):
        self.module, self.program = module, program
        self.modules = dict(module.named_modules(remove_duplicate=False))
        self.nodes: list[Node] = []
        self.names: set[str] = set()
        self.arrays: dict[str, dict[str, Array]] = {"parameter": {}, "buffer": {}, "constant": {}}
        self.values: dict[fx.Node, Any] = {}
        self.leaves: dict[int, int] = {}  # id of a tensor -> its position: tied parameters are one
        self.dropouts = 0
        self.training = module.training
        self.current: fx.Node | None = None
        # What in-place operations need: a position that was overwritten -> the one that holds the new value, and for
        # each view the array that it looks into, with a function that gives this array after a change of the view.
        self.replaced: dict[int, int] = {}
        self.views: dict[int, tuple[int, Callable[[Out], Out]]] = {}

    def graph(self, input_shape: tuple[int, ...]) -> Graph:
        specs = {s.arg.name: s for s in self.program.graph_signature.input_specs}
        outputs: list[int] = []
        for node in self.program.graph.nodes:
            self.current = node
            if node.op == "placeholder":
                self.values[node] = self._leaf(node, specs[node.name], input_shape)
            elif node.op == "call_function":
                self.values[node] = self._call(node)
            elif node.op == "output":
                wanted = [s.arg.name for s in self.program.graph_signature.output_specs if s.kind.name == "USER_OUTPUT"]
                by_name = {n.name: n for n in self.program.graph.nodes}
                outputs = [self._lookup(by_name[name]).position for name in wanted]
            else:
                raise InputError(f"{self._path()}: an exported {node.op} is not supported by the NumPy engine")
        return Graph(self.nodes, outputs, self.arrays["parameter"], self.arrays["buffer"], self.arrays["constant"])

    # --- what the functions of `aten` call

    def emit(self, op: str, inputs: list[Out | None], **settings: Any) -> Out:
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        positions = tuple(None if x is None else self._latest(x.position) for x in inputs)
        return self._append(Node(self._unique(op), op, positions, settings))

    def next_dropout(self) -> int:
        self.dropouts += 1
        return self.dropouts - 1

    # --- leaves

    def _leaf(self, node: fx.Node, spec: Any, input_shape: tuple[int, ...]) -> Out:
        kind = spec.kind.name
        if kind == "USER_INPUT":
            self.names.add(node.name)
            return self._append(Node(node.name, "input", (), {"shape": input_shape}), _shape(node))
        tensor = self._tensor(kind, spec.target)
        if id(tensor) not in self.leaves:
            op = {"PARAMETER": "parameter", "BUFFER": "buffer"}.get(kind, "constant")
            if tensor.is_floating_point():
                tensor_array = tensor.detach().to("cpu", torch.promote_types(tensor.dtype, torch.float32)).numpy()
            else:
                op, tensor_array = "constant", tensor.detach().cpu().numpy()
            if op == "parameter" and not tensor.requires_grad:
                op = "constant"
            self.arrays[op][spec.target] = tensor_array.copy()
            self.names.add(spec.target)
            self.leaves[id(tensor)] = self._append(Node(spec.target, op), tuple(tensor.shape)).position
        return Out(self.leaves[id(tensor)], tuple(tensor.shape))

    def _tensor(self, kind: str, target: str) -> torch.Tensor:
        if kind == "PARAMETER":
            return self.module.get_parameter(target)
        if kind == "BUFFER":
            return self.module.get_buffer(target)
        return self.program.constants[target]  # type: ignore[return-value]

    # --- operations

    def _call(self, node: fx.Node) -> Any:
        if node.target is operator.getitem:
            return self._lookup(node.args[0])[node.args[1]]  # type: ignore[index]
        if node.target in _INTEGERS:
            operands = tuple(self._lookup(a) for a in node.args)
            return Ref(self._number("integer", (), name=_INTEGERS[node.target], operands=operands))
        name, arguments = self._arguments(node)
        if name in _IGNORED:
            return None
        if name == "sym_size":
            x = arguments["self"]
            return Ref(self._number("size", (self._latest(x.position),), axis=arguments["dim"]))
        in_place = name.endswith("_") and not name.startswith("__")
        handler = HANDLERS.get(name.removesuffix("_") if in_place else name)
        if in_place and self._counts_batches(arguments):
            return arguments["self"]
        if handler is None:
            raise InputError(f"{self._path()}: the NumPy engine has no operation {name!r}")
        try:
            result = handler(self, arguments)
        except InputError as error:
            raise InputError(f"{self._path()}: {error}") from None
        if in_place:
            old = arguments["self"] if "self" in arguments else arguments["input"]
            result = self._overwrite(old, self._fitted(name, result, old))
        elif isinstance(result, Out):
            self._remember_view(arguments, result)
        return _with_shapes(result, node)

    def _arguments(self, node: fx.Node) -> tuple[str, dict[str, Any]]:
        """The operator's name, and its arguments by their names in its schema."""
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            raise InputError(f"{self._path()}: the NumPy engine has no operation {node.target}")
        arguments = {a.name: a.default_value for a in schema.arguments}
        arguments |= {a.name: value for a, value in zip(schema.arguments, node.args, strict=False)}
        arguments |= node.kwargs
        return schema.name.split("::")[1], {key: self._lookup(value) for key, value in arguments.items()}

    def _lookup(self, value: Any) -> Any:
        """What an argument stands for: nodes become `Out` (the newest of an overwritten array) or `Ref`."""
        if isinstance(value, fx.Node):
            found = self.values[value]
            return Out(self._latest(found.position), found.shape) if isinstance(found, Out) else found
        if isinstance(value, (list, tuple)):
            return [self._lookup(item) for item in value]
        return value

    def _number(self, op: str, inputs: tuple[int, ...], **settings: Any) -> int:
        return self._append(Node(self._unique(op), op, inputs, settings)).position

    def _append(self, node: Node, shape: tuple[int | None, ...] = ()) -> Out:
        self.nodes.append(node)
        return Out(len(self.nodes) - 1, shape)

    # --- in-place operations

    def _latest(self, position: int) -> int:
        while position in self.replaced:
            position = self.replaced[position]
        return position

    def _overwrite(self, old: Out, new: Out) -> Out:
        """From here on `old` means `new`, and what `old` was a view of is changed with it."""
        position = self._latest(old.position)
        if self.nodes[position].op in ("parameter", "buffer", "constant", "input"):
            raise InputError(f"{self._path()}: it overwrites {self.nodes[position].name!r} in place")
        if new.position == position:
            return new
        self.replaced[position] = new.position
        if position in self.views:
            base, rebuild = self.views[position]
            self.views[new.position] = (base, rebuild)
            self._overwrite(Out(base, ()), rebuild(new))
        return new

    def _fitted(self, name: str, new: Out, old: Out) -> Out:
        """`x.copy_(y)` broadcasts y to x; every other operation in place gives the shape it found."""
        return self.emit("put", [old, new], index=(Ellipsis,)) if name == "copy_" else new

    def _remember_view(self, arguments: dict[str, Any], result: Out) -> None:
        source = arguments.get("self")
        node = self.nodes[result.position]
        if not isinstance(source, Out) or node.inputs != (source.position,):
            return
        base = source.position
        if node.op == "take":
            index = node.settings["index"]
            self.views[result.position] = (
                base,
                lambda new: self.emit("put", [Out(base, ()), new], index=index),
            )
        elif node.op in ("reshape", "flatten") and None not in source.shape[1:]:
            shape = (-1, *source.shape[1:])
            self.views[result.position] = (base, lambda new: self.emit("reshape", [new], shape=shape))
        elif node.op == "permute":
            axes = tuple(int(i) for i in np.argsort(node.settings["axes"]))
            self.views[result.position] = (base, lambda new: self.emit("permute", [new], axes=axes))

    def _counts_batches(self, arguments: dict[str, Any]) -> bool:
        """Whether this only counts (batch norm's `num_batches_tracked += 1`), which no output depends on."""
        target = arguments.get("self")
        if not isinstance(target, Out):
            return False
        node = self.nodes[target.position]
        return node.op == "constant" and self.arrays["constant"][node.name].dtype.kind in "iu"

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
        name = path if leaf else f"{path}.{last}" if path else last
        unique, count = name, 1
        while unique in self.names:
            count += 1
            unique = f"{name}#{count}"
        self.names.add(unique)
        return unique


def _shape(node: fx.Node) -> tuple[int | None, ...]:
    """The shape that export noted, None for sizes that depend on the batch."""
    return _sizes(node.meta.get("val"))


def _sizes(value: Any) -> tuple[int | None, ...]:
    return tuple(s if isinstance(s, int) else None for s in getattr(value, "shape", ()))


def _with_shapes(result: Any, node: fx.Node) -> Any:
    value = node.meta.get("val")
    if isinstance(result, Out):
        return Out(result.position, _shape(node))
    if isinstance(result, tuple) and isinstance(value, (list, tuple)):
        return tuple(None if r is None else Out(r.position, _sizes(v)) for r, v in zip(result, value, strict=False))
    return result
