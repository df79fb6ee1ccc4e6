"""An execution: every operation that one forward pass runs, in order, with the layer that asked for it.

A probe looks at the pass, which runs on fake tensors (shapes without values), so the largest network takes a second
and no memory. A network that asks for values cannot run that way; then the pass is repeated on real numbers, the record
is that of the branch taken, and it says why.
"""

import contextlib
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convlens.base.errors import ConvlensError, InputError, out_of_memory, reason
from convlens.base.optional import silenced
from convlens.classify.outputs import run
from convlens.inspection.probe import Call, Op, Probe, refuse_scripted
from convlens.models.lazy import settled
from convlens.models.random_state import same_random_state
from convlens.nn.private import FakeTensorMode, NeedsValues, storage, uncompiled


@dataclass
class Execution:
    """What one forward pass ran.

    Attributes:
        parameters, buffers: name by `id` of the tensor that stands for it.
        constants: storages of parameters and buffers.
        saved: what automatic differentiation keeps.
        why_real: why the pass ran on real numbers, "" if shapes were enough.
    """

    batch: int
    input: Tensor
    ops: list[Op] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    parameters: dict[int, str] = field(default_factory=dict)
    buffers: dict[int, str] = field(default_factory=dict)
    constants: set[int] = field(default_factory=set)
    saved: list[Tensor] = field(default_factory=list)
    output: Any = None
    why_real: str = ""


def execute(
    module: nn.Module, input_shape: tuple[int, ...], *, training: bool = False, batch: int = 1, real: bool = False
) -> Execution:
    """Runs the network once and records every operation.

    Args:
        module: any network that takes one tensor. Weights, buffers, gradients, modes, attributes and the random state
            stay as they are.
        input_shape: of one example, without the batch: (C, H, W), (C, L), (F,), ...
        training: run in training mode and collect what is saved for the backward pass.
        batch: number of examples.
        real: on random numbers from the first. By default on tensors without contents, which need neither memory nor
            arithmetic, but whose code takes PyTorch a second to load.

    Raises:
        InputError: the network cannot run on such an input.
    """
    module = settled(uncompiled(module), input_shape)
    refuse_scripted(module)
    shape = (batch, *input_shape)
    with unchanged(module, training):
        try:
            with silenced("torch._subclasses.fake_tensor"):  # it reports what we report
                return _run(module, shape, training, real=real)
        except Exception as error:  # it asks for values, or an operation has no fake form; or it cannot run at all
            if _is_final(error):
                raise
            why = reason(error)
            if isinstance(error, NeedsValues):  # its message is the name of an operation
                why = why.replace(str(error), "values decide what runs")
        try:
            return _run(module, shape, training, real=True, why_real="" if real else why)
        except Exception as error:
            if _is_final(error):
                raise
            size = "x".join(map(str, input_shape))
            raise InputError(f"the network cannot run on an input of {size}: {reason(error)}") from error


def _is_final(error: Exception) -> bool:
    return isinstance(error, ConvlensError) or out_of_memory(error) is not None


@contextlib.contextmanager
def unchanged(module: nn.Module, training: bool) -> Iterator[None]:
    """Inside, the network is in training mode or not; then each part has the mode and the attributes that it had.

    Some networks keep their last activations, in lists and dictionaries, too, or make buffers when they first run.
    """
    attributes = [(vars(part), dict(vars(part))) for part in module.modules()]
    containers = [(v, v.copy()) for _, old in attributes for v in old.values() if type(v) in (dict, list, OrderedDict)]
    module.train(training)
    try:
        yield
    finally:
        for current, old in attributes:
            current.update(old)
            for name in current.keys() - old.keys():
                del current[name]
        for container, old in containers:
            container.clear()
            if isinstance(container, list):
                container.extend(old)
            else:
                container.update(old)


def _run(module: nn.Module, shape: tuple[int, ...], training: bool, *, real: bool, why_real: str = "") -> Execution:
    """One pass, on random numbers or on fake tensors. why_real: why those did not do."""
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    fake = None if real else FakeTensorMode(allow_non_fake_inputs=True)

    def stand_in(tensor: Tensor) -> Tensor:
        if fake is not None:
            return fake.from_tensor(tensor, static_shapes=True)
        return tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone()  # buffers may be written to

    with same_random_state(), torch.set_grad_enabled(training), fake or contextlib.nullcontext():
        if fake:
            x = torch.empty(shape, dtype=first.dtype, device=first.device)
        else:
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=first.dtype).to(first.device)
        execution = Execution(batch=shape[0], input=x, why_real=why_real)
        state = _stand_ins(module, stand_in, execution)
        collecting = _collecting(execution) if training else contextlib.nullcontext()
        with collecting, Probe(module, (), operations=True) as probe:
            execution.output = functional_call(module, state, (x,), tie_weights=False)
    execution.ops, execution.calls = probe.operations, probe.calls
    return execution


def _collecting(execution: Execution) -> contextlib.AbstractContextManager[None]:
    """While it is open, the execution collects what automatic differentiation keeps for the backward pass.

    PyTorch itself gets weak references to tensors and execution: an output that it kept would hold itself for ever.
    """
    own = weakref.ref(execution)

    def pack(tensor: Tensor) -> weakref.ref[Tensor]:
        if (open_execution := own()) is not None:
            open_execution.saved.append(tensor)
        return weakref.ref(tensor)

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda reference: reference())


def _stand_ins(module: nn.Module, stand_in: Callable[[Tensor], Tensor], execution: Execution) -> dict[str, Tensor]:
    """A tensor for every name of a parameter or buffer, the same one for all names of a shared tensor."""
    made: dict[int, Tensor] = {}
    state = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        if id(tensor) not in made:
            made[id(tensor)] = stand_in(tensor)
            names = execution.parameters if isinstance(tensor, nn.Parameter) else execution.buffers
            names[id(made[id(tensor)])] = name
        state[name] = made[id(tensor)]
        execution.constants.add(storage(state[name]))
    return state


def captured(module: nn.Module, x: Tensor, execution: Execution, calls: Sequence[int]) -> list[Tensor]:
    """Runs the network on real numbers, in evaluation mode and with gradients, and returns what some calls returned.

    Args:
        module: the network; its weights, buffers, modes and attributes stay as they are.
        x: input, [N, *input_shape].
        execution: its execution in evaluation mode.
        calls: indices into `execution.calls`, of calls that return a tensor.

    Raises:
        InputError: it does not run what was executed, as its control flow depends on values.
    """
    module = uncompiled(module)
    with unchanged(module, False), same_random_state(), torch.enable_grad():
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        with Probe(module, (), operations=True) as probe:
            run(lambda x: functional_call(module, buffers, (x.clone(),)), x)  # it may write into its input
    if [(call.path, call.kind) for call in probe.calls] != [(call.path, call.kind) for call in execution.calls]:
        raise InputError("the network runs other layers for another image: values decide, so no layer can be measured")
    outputs = [probe.calls[index].output for index in calls]
    return [output for output in outputs if output is not None]
