"""A network that the caller hands over: whether it can be trained, and how it is given back."""

import torch
from torch import nn

from convlens.base.errors import InputError


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
