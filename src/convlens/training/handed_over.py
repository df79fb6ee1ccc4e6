"""A network that the caller hands over: whether it can be trained, and how it is given back."""

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlens.base.errors import InputError
from convlens.classify.outputs import first_look
from convlens.training.settings import Numeric


def require_trainable_values(module: nn.Module) -> None:
    """Refuses parameters that no step can change rightly: without values, of another type than float32, frozen in time.

    Raises:
        InputError: names the first such parameter.
    """
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            raise InputError(
                f"the network's parameter {name} is on the device meta, where nothing has a value; build the network "
                "outside of torch.device('meta')"
            )
        if parameter.is_inference():
            raise InputError(
                f"the network's parameter {name} was made within torch.inference_mode, where nothing can be trained; "
                "build the network outside of it"
            )
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InputError(
                f"the network's parameter {name} is {kind}; weights are trained in float32: pass network.float()"
            )


@contextlib.contextmanager
def given_back(module: nn.Module) -> Iterator[None]:
    """Afterwards the network is as it was handed over: device, order of axes, modes, what is trainable.

    Values are as trained. Layers that get their shapes only when the network first runs have no place yet to go back
    to.
    """
    places = {
        (part, name): (tensor.device, tensor.stride())
        for part in module.modules()
        for name, tensor in _own_tensors(part).items()
        if not is_lazy(tensor)
    }
    modes = [(part, part.training) for part in module.modules()]
    trainable = [(p, p.requires_grad) for p in module.parameters() if not is_lazy(p)]
    try:
        yield
    finally:
        for parameter, wanted in trainable:
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
        for (part, name), (device, stride) in places.items():
            tensor = _own_tensors(part).get(name)
            if (
                tensor is not None
                and len(stride) == tensor.ndim
                and (tensor.device, tensor.stride()) != (device, stride)
            ):
                before = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=device)
                tensor.data = before.copy_(tensor.detach())
        for part, mode in modes:
            part.training = mode


def _own_tensors(part: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a module without those of its parts."""
    return {**dict(part.named_parameters(recurse=False)), **dict(part.named_buffers(recurse=False))}


def try_out(module: nn.Module, images: Tensor, classes: int, numeric: Numeric, notes: list[str]) -> Numeric:
    """Runs the network on a few images [n, C, H, W], before there is a run folder; see `first_look`.

    Where it cannot take images whose channels are innermost in memory (a `view` in its forward), they stay outside:
    then the settings that are returned say so, and a note does.
    """

    def look(layout: torch.memory_format) -> list[str]:
        module.to(memory_format=layout)  # pyright: ignore[reportCallIssue] - a documented overload
        return first_look(module, images.contiguous(memory_format=layout), classes)

    try:
        found = look(torch.channels_last if numeric.channels_last else torch.contiguous_format)
    except InputError:
        if not numeric.channels_last:
            raise
        found = look(torch.contiguous_format)
        numeric = dataclasses.replace(numeric, channels_last=False)
        notes.append("channels last is off: the network cannot take it (a view in its forward; reshape could)")
    notes += found
    return numeric
