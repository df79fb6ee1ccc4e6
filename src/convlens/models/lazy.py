"""Lazy layers, whose shapes follow from the first input that they see."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.models.modes import evaluation_mode
from convlens.models.random_state import same_random_state


def has_lazy_layers(module: nn.Module) -> bool:
    """Whether a layer of the network waits for its first input."""
    return any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers()))


def settle_lazy_layers(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Gives lazy layers their shapes and first weights, by one pass in evaluation mode. Others are left alone.

    input_shape: of one example, without the batch. The weights are drawn from PyTorch's generator.

    Raises:
        InputError: the network cannot take such an input, or does not run one of its lazy layers.
    """
    if not has_lazy_layers(module):
        return
    ready = next((p for p in module.parameters() if not is_lazy(p)), torch.empty(0))
    try:
        with evaluation_mode(module), torch.no_grad():
            module(torch.zeros(2, *input_shape, device=ready.device))
    except Exception as error:
        if out_of_memory(error):
            raise
        shape = "x".join(map(str, input_shape))
        raise InputError(f"the network cannot run on an input of {shape}: {reason(error)}") from error
    waiting = [name for name, tensor in module.named_parameters() if is_lazy(tensor)]
    if waiting:
        raise InputError(f"the lazy layer of {waiting[0]!r} is never run, so it has no shape: leave it out")


def settled(module: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """The network itself, or, where it has lazy layers, a copy in which they have their shapes."""
    return settled_copy(module, input_shape) if has_lazy_layers(module) else module


def settled_copy(module: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy of the network, in which lazy layers have their shapes. The random state stays as it is."""
    # PyTorch cannot copy the buffers of a lazy layer, so they are made anew
    make: Any = UninitializedBuffer
    fresh: dict[int, Any] = {id(b): make(device=b.device, dtype=b.dtype) for b in module.buffers() if is_lazy(b)}
    fresh |= {id(f): f for f in _scripted_functions(module)}  # nor scripted functions, which hold nothing of their own
    try:
        module = copy.deepcopy(module, fresh)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise InputError(f"{type(module).__name__} cannot be copied: {reason(error)}") from error
    with same_random_state():
        settle_lazy_layers(module, input_shape)
    return module


def _scripted_functions(module: nn.Module) -> list[Any]:
    """The functions made by torch.jit.script that modules keep, alone or in a list, tuple or dictionary."""
    held = [value for part in module.modules() for value in vars(part).values()]
    held += [item for value in held if isinstance(value, (list, tuple)) for item in value]
    held += [item for value in held if isinstance(value, dict) for item in value.values()]
    return [value for value in held if isinstance(value, torch.jit.ScriptFunction)]
