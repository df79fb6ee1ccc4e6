"""Deterministic weights and inputs, and a digest of names and shapes: what the pinned table was made with.

The table `common_library.json` was written in an environment with torchvision 0.29.2 by the same three functions:
for each network its own `state_dict` was digested, `fill`ed, and run on `probe()`. No test needs that library.
"""

import hashlib

import torch
from torch import Tensor, nn


def digest(state: dict[str, Tensor]) -> str:
    """A hash over names, shapes and order of a state dict."""
    text = "\n".join(f"{name} {tuple(value.shape)}" for name, value in state.items())
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fill(network: nn.Module) -> None:
    """Weights that depend on nothing but their name's place and shape: a scaled sine of the element's number.

    Kernels are scaled by their fan-in, so that signals neither die nor explode in the deepest network.
    """
    with torch.no_grad():
        for place, (name, value) in enumerate(network.state_dict().items()):
            if not value.is_floating_point():
                continue
            wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 1.7 + place)
            if value.dim() > 1:
                wave *= (3 / value[0].numel()) ** 0.5
            elif name.endswith("running_var"):
                wave = 1 + 0.2 * wave
            elif name.endswith("weight"):
                wave = 1 + 0.1 * wave
            else:
                wave *= 0.1
            value.copy_(wave.view(value.shape))


def probe() -> Tensor:
    """One image of 64x64 pixels."""
    return torch.sin(torch.arange(3 * 64 * 64, dtype=torch.float64) * 0.37).float().view(1, 3, 64, 64)
