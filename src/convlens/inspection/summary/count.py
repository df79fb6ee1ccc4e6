"""Counts a summary from the operations that one forward pass executes, never from the modules that exist.

A shared layer costs its work at each use and its parameters once, a functional call counts like a module, and a layer
that does not run (an auxiliary head in evaluation mode) does not count.
"""

from collections import Counter
from dataclasses import replace

from torch import nn

from convlens.base.errors import InputError
from convlens.classify.caller import undisturbed
from convlens.classify.outputs import tensors_in
from convlens.inspection import costs
from convlens.inspection.execution import Execution, execute
from convlens.inspection.fields.effective import effective_fields
from convlens.inspection.fields.follow import follow
from convlens.inspection.summary.rows import Rows, first_uses, rows_of
from convlens.inspection.summary.summary import Layer, Summary, is_map
from convlens.models.lazy import settled
from convlens.nn.private import storage, uncompiled

_BATCHES = (2, 4)  # sizes of two batches in training, to tell what grows with the batch; normalization needs 2 examples


def summarize(
    module: nn.Module, input_shape: tuple[int, ...], *, effective: bool = False, seed: int = 0, real: bool = False
) -> Summary:
    """Summarizes a network from the operations that it executes.

    Args:
        module: any network that takes one tensor; nothing of it is changed. It may live on the meta device.
        input_shape: of one example, without the batch: (C, H, W), (C, L), (C, D, H, W) or (F,).
        effective: also measure effective receptive fields, with its weights as they are, by gradients on 8 images of
            noise: at the last layer of each resolution.
        seed: of the noise.
        real: run it on random numbers, not on shapes alone (see `execution.execute`). The result is the same.

    Raises:
        InputError: the network cannot run on such an input, or `effective` without an image or on the meta device.
    """
    with undisturbed():
        module = settled(uncompiled(module), tuple(input_shape))
        execution = _execution_of_one(module, tuple(input_shape), real)
        summary = _summarized(module, tuple(input_shape), execution, real)
        return _with_effective(summary, module, execution, seed) if effective else summary


def _summarized(module: nn.Module, input_shape: tuple[int, ...], execution: Execution, real: bool) -> Summary:
    rows = rows_of(execution)
    used = first_uses(execution, rows, execution.parameters)
    kept, training = _kept(module, input_shape, real)
    done = {name for names in used.values() for name in names}
    total = execution.input.untyped_storage().nbytes() + sum(sum(a.values()) for a in costs.allocations(execution))
    return Summary(
        network=type(module).__name__,
        input=input_shape,
        dtype=str(execution.input.dtype).removeprefix("torch."),
        layers=_layers(module, execution, rows, used, kept),
        groups={call.path: call.kind for call in execution.calls if call.has_parts and call.path},
        unused=_by_module(module, {name: p.numel() for name, p in module.named_parameters() if name not in done}),
        memory=costs.Memory(
            costs.forward_peak(execution) // execution.batch,
            total // execution.batch,
            training,
            _state_bytes(module),
            sum(p.numel() * p.element_size() for p in module.parameters()),
        ),
        why_real=execution.why_real,
    )


def _layers(
    module: nn.Module, execution: Execution, rows: Rows, used: dict[int, list[str]], kept: dict[str, int] | None
) -> tuple[Layer, ...]:
    """The rows. used: by row, the parameters that it is the first to use; kept: bytes, by the row's name."""
    parameters = dict(module.named_parameters())
    buffers = {name: b.numel() for name, b in module.named_buffers() if b.is_floating_point()}
    constants = first_uses(execution, rows, {i: name for i, name in execution.buffers.items() if name in buffers})
    fields = follow(execution)
    allocated, macs = Counter[int](), Counter[int]()
    for row, op, fresh in zip(rows.of_op, execution.ops, costs.allocations(execution), strict=True):
        allocated[row] += sum(fresh.values())
        macs[row] += costs.macs(op)

    def layer(row: int, name: str) -> Layer:
        call = execution.calls[row]
        mine = [parameters[p] for p in used.get(row, ())]
        return Layer(
            name=name,
            kind=call.kind,
            output=None if call.output is None else tuple(call.output.shape[1:]),
            parameters=sum(p.numel() for p in mine),
            trainable=sum(p.numel() for p in mine if p.requires_grad),
            macs=macs[row] // execution.batch,
            allocated=allocated[row] // execution.batch,
            kept=None if kept is None else kept.get(name, 0),
            fields=None if call.output is None else fields.fields(call.output),
            call=row,
            is_function=call.is_function,
            buffers=sum(buffers[b] for b in constants.get(row, ())),
        )

    return tuple(layer(row, name) for row, name in rows.names.items())


def _execution_of_one(module: nn.Module, input_shape: tuple[int, ...], real: bool) -> Execution:
    """What one example runs; of a network that loses the batch axis of a single one (`squeeze()`), what two run."""
    failure = execution = None
    try:
        execution = execute(module, input_shape, real=real)
        if all(output.shape[:1] == (1,) for output in tensors_in(execution.output)):
            return execution
    except InputError as error:
        failure = error
    try:
        return execute(module, input_shape, batch=2, real=real)
    except InputError as error:
        if execution is None:
            raise failure or error from error.__cause__
        return execution


def _state_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers, and for what trains a gradient and the two averages that Adam keeps."""
    parameters = sum(p.numel() * p.element_size() * (4 if p.requires_grad else 1) for p in module.parameters())
    return parameters + sum(b.numel() * b.element_size() for b in module.buffers())


def _kept(module: nn.Module, input_shape: tuple[int, ...], real: bool) -> tuple[dict[str, int] | None, int | None]:
    """Bytes per example kept for the backward pass: by the name of the row that made them, and in all.

    What does not grow with the batch (statistics, transformed weights) is left out.
    """
    small, large = _BATCHES
    try:
        one, other = (execute(module, input_shape, training=True, batch=batch, real=real) for batch in _BATCHES)
    except InputError:
        return None, None
    if [op.name for op in one.ops] != [op.name for op in other.ops]:  # values decide what runs
        return None, None
    less, more = _kept_by_row(one), _kept_by_row(other)
    grown = {row: (more[row] - less[row]) // (large - small) for row in more}
    return grown, sum(grown.values())


def _kept_by_row(execution: Execution) -> Counter[str]:
    """Bytes kept for the backward pass by the name of the row that made them; "" for the input."""
    rows = rows_of(execution)
    sizes = costs.kept(execution)
    kept = Counter({"": sizes.get(storage(execution.input), 0)})
    for row, fresh in zip(rows.of_op, costs.allocations(execution), strict=True):
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


def _with_effective(summary: Summary, module: nn.Module, execution: Execution, seed: int) -> Summary:
    if len(summary.input) < 2:
        raise InputError("effective receptive fields need an image: this network's input is a vector")
    if any(p.is_meta for p in module.parameters()):
        raise InputError("effective receptive fields need weights: this network is on the meta device")
    last = {layer.output[1:]: layer for layer in summary.layers if layer.output and is_map(layer)}  # by resolution
    chosen = sorted(last.values(), key=lambda layer: layer.call)
    fields = {layer.call: layer.fields for layer in chosen if layer.fields}
    found = effective_fields(module, execution, fields, seed=seed)
    return replace(summary, effective={layer.name: each for layer, each in zip(chosen, found, strict=True)})
