"""The summary of a network: layer by layer its shapes, parameters, multiply-accumulates, memory and receptive fields.

Everything is counted from the operations that one forward pass executes (`inspection.trace`), never from the
modules that exist: a shared layer costs its work at each use and its parameters once, a functional call counts
like a module, and a layer that does not run (an auxiliary head in evaluation mode) does not count.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from convlens.base.errors import InputError
from convlens.classify.outputs import tensors_in
from convlens.geometry import FieldMap
from convlens.inspection import costs
from convlens.inspection.fields.effective import EffectiveField, effective_fields
from convlens.inspection.fields.follow import follow
from convlens.inspection.summary_rows import first_uses, rows_of
from convlens.inspection.trace import Trace, trace
from convlens.models.lazy import settled
from convlens.nn.private import storage, uncompiled

if TYPE_CHECKING:
    from rich.console import RenderableType

_BATCHES = (2, 4)  # sizes of two batches in training, to tell what grows with the batch; normalization needs 2 examples


@dataclass(frozen=True)
class Layer:
    """One row: a call of a module without parts, or of a function.

    Attributes:
        name: dotted path of the module, or of the module around the function and the function's name; a second
            call of the same name ends in ":2", and so on.
        kind: class of the module, or name of the function.
        output: shape of the output without the batch; None if it returns no tensor.
        parameters: numbers in the parameters that this call is the first to use.
        trainable: those of them that an optimizer changes.
        macs: multiply-accumulates for one example.
        allocated: bytes that the call allocates for one example.
        kept: those of them that stay for the backward pass in training; None if not known.
        fields: receptive field along each axis of the image; None where there is no image.
        call: index in the trace.
        is_function: a function rather than a module.
        buffers: numbers in the buffers that this call is the first to use, such as the running mean and variance of a
            batch normalization.
    """

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    trainable: int
    macs: int
    allocated: int
    kept: int | None
    fields: tuple[FieldMap, ...] | None
    call: int
    is_function: bool = False
    buffers: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "output": None if self.output is None else list(self.output),
            "parameters": self.parameters,
            "trainable": self.trainable,
            "buffers": self.buffers,
            "macs": self.macs,
            "memory": {"forward": self.allocated, "training": self.kept},
            "receptive_field": None if self.fields is None else field_dict(self.fields),
        }


def field_dict(fields: tuple[FieldMap, ...]) -> dict[str, list[int | float | None]]:
    """Receptive field by axis. `jump` is null where all cells see the same, or nothing repeats."""
    return {
        "size": [f.size for f in fields],
        "jump": [None if f.jump is None else int(f.jump) if f.jump.denominator == 1 else float(f.jump) for f in fields],
        "offset": [f.start for f in fields],
    }


@dataclass(frozen=True)
class Summary:
    """The whole network. Counts are for one example in evaluation mode.

    Attributes:
        network: class of the network.
        input: shape of one example.
        dtype: of the input, such as "float32".
        layers: what runs, in order.
        groups: class of each module that has parts, by dotted path.
        unused: parameters that nothing uses in evaluation mode, by the path of the module that holds them.
        memory: bytes of activations.
        why_real: why the numbers are those of one random input: shapes alone were not enough to run the network.
        effective: measured receptive fields by layer name, empty unless asked for.
    """

    network: str
    input: tuple[int, ...]
    dtype: str
    layers: tuple[Layer, ...]
    groups: dict[str, str]
    unused: dict[str, int]
    memory: costs.Memory
    why_real: str = ""
    effective: dict[str, EffectiveField] = field(default_factory=dict)

    @property
    def depends_on_values(self) -> bool:
        """Whether the network asks for values: the numbers are those of the branch that one random input takes."""
        return bool(self.why_real)

    @property
    def parameters(self) -> int:
        """Numbers in all parameters that run, shared ones once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """Those of the parameters that an optimizer changes."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def buffers(self) -> int:
        """Numbers in the buffers that run: statistics of batch normalization and other constants. Not trained."""
        return sum(layer.buffers for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products for one example."""
        return sum(layer.macs for layer in self.layers)

    @property
    def last_map(self) -> Layer | None:
        """The last layer whose cells look at different places of the image; None for a network without an image."""
        seeing = [layer for layer in self.layers if layer.fields]
        maps = [layer for layer in seeing if is_map(layer)]
        return (maps or seeing or [None])[-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. Memory in bytes; receptive fields in input pixels, by axis (height, width)."""
        last = self.last_map
        result = {
            "network": self.network,
            "input": list(self.input),
            "dtype": self.dtype,
            "layers": [layer.to_dict() for layer in self.layers],
            "parameters": self.parameters,
            "trainable": self.trainable,
            "buffers": self.buffers,
            "macs": self.macs,
            "memory": {
                "forward_peak": self.memory.peak,
                "forward_total": self.memory.total,
                "training": self.memory.training,
                "state": self.memory.state,
            },
            "receptive_field": last and last.fields and {"layer": last.name, **field_dict(last.fields)},
            "unused": self.unused,
            "depends_on_values": self.depends_on_values,
        }
        if self.effective:
            result["effective_receptive_field"] = {
                name: {"size": e.size, "theoretical": e.theoretical, "ratio": e.ratio}
                for name, e in self.effective.items()
            }
        return result

    def __rich__(self) -> "RenderableType":
        from convlens.inspection.summary_table import SummaryTable

        return SummaryTable(self)


def is_map(layer: Layer) -> bool:
    """Whether the layer gives a feature map whose cells see different parts of the image."""
    fields, output = layer.fields, layer.output
    if not fields or not output or len(output) != len(fields) + 1 or max(output[1:]) == 1:
        return False
    return any(f.advance is not None or len(f.cells) > 1 for f in fields)


def summarize(module: nn.Module, input_shape: tuple[int, ...], *, effective: bool = False, seed: int = 0) -> Summary:
    """Summarizes a network from the operations that it executes.

    Args:
        module: any network that takes one tensor; nothing of it is changed. It may live on the meta device.
        input_shape: of one example, without the batch: (C, H, W), (C, L), (C, D, H, W) or (F,).
        effective: also measure effective receptive fields, with its weights as they are, by gradients on 8 images of
            noise: at the last layer of each resolution.
        seed: of the noise.

    Raises:
        InputError: the network cannot run on such an input, or `effective` without an image or on the meta device.
    """
    module = settled(uncompiled(module), tuple(input_shape))
    traced = _trace_of_one(module, input_shape)
    rows = rows_of(traced)
    parameters = dict(module.named_parameters())
    used = first_uses(traced, rows, traced.parameters)
    buffers = {name: b for name, b in module.named_buffers() if b.is_floating_point()}
    statistics = first_uses(traced, rows, {i: name for i, name in traced.buffers.items() if name in buffers})
    known = follow(traced)
    allocated = Counter[int]()
    for row, fresh in zip(rows.of_op, costs.allocations(traced), strict=True):
        allocated[row] += sum(fresh.values())
    work = Counter[int]()
    for row, op in zip(rows.of_op, traced.ops, strict=True):
        work[row] += costs.macs(op)
    keeps, training = _kept(module, input_shape)
    layers = []
    for index, name in rows.names.items():
        call = traced.calls[index]
        mine = [parameters[p] for p in used.get(index, ())]
        layers.append(
            Layer(
                name=name,
                kind=call.kind,
                output=None if call.output is None else tuple(call.output.shape[1:]),
                parameters=sum(p.numel() for p in mine),
                trainable=sum(p.numel() for p in mine if p.requires_grad),
                macs=work[index] // traced.batch,
                allocated=allocated[index] // traced.batch,
                kept=None if keeps is None else keeps.get(name, 0),
                fields=None if call.output is None else known.fields(call.output),
                call=index,
                is_function=call.is_function,
                buffers=sum(buffers[name].numel() for name in statistics.get(index, ())),
            )
        )
    total = traced.input.untyped_storage().nbytes() + sum(allocated.values())
    done = {name for names in used.values() for name in names}
    summary = Summary(
        network=type(module).__name__,
        input=tuple(input_shape),
        dtype=str(traced.input.dtype).removeprefix("torch."),
        layers=tuple(layers),
        groups={call.path: call.kind for call in traced.calls if call.has_parts and call.path},
        unused=_by_module(module, {name: p.numel() for name, p in parameters.items() if name not in done}),
        memory=costs.Memory(
            costs.forward_peak(traced) // traced.batch, total // traced.batch, training, _state_bytes(module)
        ),
        why_real=traced.why_real,
    )
    return _with_effective(summary, module, seed) if effective else summary


def _trace_of_one(module: nn.Module, input_shape: tuple[int, ...]) -> Trace:
    """What one example runs; of a network that loses the batch axis of a single one (`squeeze()`), what two run."""
    failure = traced = None
    try:
        traced = trace(module, input_shape)
        if all(output.shape[:1] == (1,) for output in tensors_in(traced.output)):
            return traced
    except InputError as error:
        failure = error
    try:
        return trace(module, input_shape, batch=2)
    except InputError as error:
        if traced is None:
            raise failure or error from error.__cause__
        return traced


def _state_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers, and for what trains a gradient and the two averages that Adam keeps."""
    parameters = sum(p.numel() * p.element_size() * (4 if p.requires_grad else 1) for p in module.parameters())
    return parameters + sum(b.numel() * b.element_size() for b in module.buffers())


def _kept(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[dict[str, int] | None, int | None]:
    """Bytes per example kept for the backward pass: by the name of the row that made them, and in all.

    What does not grow with the batch (statistics, transformed weights) is left out.
    """
    small, large = _BATCHES
    try:
        one, other = (trace(module, input_shape, training=True, batch=batch) for batch in _BATCHES)
    except InputError:
        return None, None
    if [op.name for op in one.ops] != [op.name for op in other.ops]:  # values decide what runs
        return None, None
    less, more = _kept_by_row(one), _kept_by_row(other)
    grown = {row: (more[row] - less[row]) // (large - small) for row in more}
    return grown, sum(grown.values())


def _kept_by_row(traced: Trace) -> Counter[str]:
    """Bytes kept for the backward pass by the name of the row that made them; "" for the input."""
    rows = rows_of(traced)
    sizes = costs.kept(traced)
    kept = Counter({"": sizes.get(storage(traced.input), 0)})
    for row, fresh in zip(rows.of_op, costs.allocations(traced), strict=True):
        kept[rows.names.get(row, "")] += sum(sizes.get(place, 0) for place in fresh)
    return kept


def _by_module(module: nn.Module, unused: dict[str, int]) -> dict[str, int]:
    """Sums unused parameters up to the largest modules none of whose parameters are used."""
    every = Counter(prefix for name, _ in module.named_parameters() for prefix in _prefixes(name))
    idle = Counter(prefix for name in unused for prefix in _prefixes(name))
    result = Counter[str]()
    for name, numel in unused.items():
        place = next((p for p in _prefixes(name) if idle[p] == every[p]), name)
        result[place] += numel
    return dict(result)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def _with_effective(summary: Summary, module: nn.Module, seed: int) -> Summary:
    if len(summary.input) < 2:
        raise InputError("effective receptive fields need an image: this network's input is a vector")
    if any(p.is_meta for p in module.parameters()):
        raise InputError("effective receptive fields need weights: this network is on the meta device")
    last = {layer.output[1:]: layer for layer in summary.layers if layer.output and is_map(layer)}  # by resolution
    chosen = sorted(last.values(), key=lambda layer: layer.call)
    fields = effective_fields(
        module,
        summary.input,
        [layer.call for layer in chosen],
        [layer.fields for layer in chosen if layer.fields],
        [layer.output[1:] for layer in chosen if layer.output],
        seed=seed,
    )
    measured = {layer.name: result for layer, result in zip(chosen, fields, strict=True)}
    return Summary(**{**vars(summary), "effective": measured})
