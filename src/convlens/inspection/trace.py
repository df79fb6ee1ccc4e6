"""A trace: every operation that one forward pass runs, in order, with the layer that asked for it.

A probe looks at the pass, which runs on fake tensors (shapes without values), so the largest network takes a second
and no memory. Control flow that depends on values cannot run that way; then the pass is repeated on real numbers, and
the trace is that of the branch taken.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.classify.outputs import run
from convlens.inspection.probe import Call, Op, Probe
from convlens.models.lazy import settled
from convlens.models.random_state import same_random_state
from convlens.nn.private import FakeTensorMode, storage, uncompiled


@dataclass
class Trace:
    """What one forward pass ran.

    `parameters` and `buffers` map `id` of a tensor that stands for one to its name.
    """

    batch: int
    input: Tensor
    ops: list[Op] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    parameters: dict[int, str] = field(default_factory=dict)
    buffers: dict[int, str] = field(default_factory=dict)
    constants: set[int] = field(default_factory=set)  # storages of parameters and buffers
    saved: list[Tensor] = field(default_factory=list)  # what automatic differentiation keeps
    output: Any = None
    is_real: bool = False


def trace(module: nn.Module, input_shape: tuple[int, ...], *, training: bool = False, batch: int = 1) -> Trace:
    """Runs the network once and records every operation.

    Args:
        module: any network that takes one tensor. Weights, buffers, gradients, modes and the random state stay as
            they are.
        input_shape: of one example, without the batch: (C, H, W), (C, L), (F,), ...
        training: run in training mode and collect what is saved for the backward pass.
        batch: number of examples.

    Raises:
        InputError: the network cannot run on such an input.
    """
    module = settled(uncompiled(module), input_shape)
    with _modes_restored(module, training):
        try:
            with _silenced("torch._subclasses.fake_tensor"):  # it reports what we report
                return _run(module, (batch, *input_shape), training, fake=True)
        except Exception:  # values are needed, or an operation without a fake form: count a real pass instead
            pass
        try:
            return _run(module, (min(batch, 7), *input_shape), training, fake=False)
        except Exception as error:
            if out_of_memory(error):
                raise
            size = "x".join(map(str, input_shape))
            raise InputError(f"the network cannot run on an input of {size}: {reason(error)}") from error


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextlib.contextmanager
def _modes_restored(module: nn.Module, training: bool) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _run(module: nn.Module, shape: tuple[int, ...], training: bool, *, fake: bool) -> Trace:
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else None

    def stand_in(tensor: Tensor) -> Tensor:
        if mode is not None:
            return mode.from_tensor(tensor, static_shapes=True)
        return tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone()  # buffers may be written to

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.nullcontext() if fake else same_random_state())
        stack.enter_context(torch.set_grad_enabled(training))
        stack.enter_context(mode or contextlib.nullcontext())
        if fake:
            x = torch.empty(shape, dtype=first.dtype, device=first.device)
        else:
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=first.dtype).to(first.device)
        traced = Trace(batch=shape[0], input=x, is_real=not fake)
        state = _stand_ins(module, stand_in, traced)
        if training:
            keep = torch.autograd.graph.saved_tensors_hooks(lambda t: (traced.saved.append(t), t)[1], lambda t: t)
            stack.enter_context(keep)
        probe = stack.enter_context(Probe(module, (), operations=True))
        traced.output = functional_call(module, state, (x,), tie_weights=False)
    traced.ops, traced.calls = probe.operations, probe.calls
    return traced


def _stand_ins(module: nn.Module, stand_in: Callable[[Tensor], Tensor], traced: Trace) -> dict[str, Tensor]:
    """A tensor for every name of a parameter or buffer, the same one for all names of a shared tensor."""
    made: dict[int, Tensor] = {}
    state = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        if id(tensor) not in made:
            made[id(tensor)] = stand_in(tensor)
            names = traced.parameters if isinstance(tensor, nn.Parameter) else traced.buffers
            names[id(made[id(tensor)])] = name
        state[name] = made[id(tensor)]
        traced.constants.add(storage(state[name]))
    return state


def captured(module: nn.Module, x: Tensor, calls: Sequence[int]) -> list[Tensor]:
    """Runs the network on real numbers, in evaluation mode and with gradients, and returns what some calls returned.

    Args:
        module: the network; its weights, buffers and modes stay as they are.
        x: input, [N, *input_shape].
        calls: indices into `Trace.calls` of an evaluation trace.
    """
    module = uncompiled(module)
    with _modes_restored(module, False), same_random_state(), torch.enable_grad():
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        with Probe(module, (), operations=True) as probe:
            run(lambda x: functional_call(module, buffers, (x,)), x)
    outputs = [probe.calls[index].output for index in calls]
    return [output for output in outputs if output is not None]
