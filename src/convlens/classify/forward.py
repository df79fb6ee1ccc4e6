"""How a PyTorch module answers: on its device, in evaluation mode, in a process that is left as it was."""

import threading
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from convlens.classify.caller import undisturbed
from convlens.classify.outputs import logits_of
from convlens.classify.views import Views
from convlens.models.modes import evaluation_mode

# Training flags, threads and PyTorch's switches belong to the whole process: of two threads that answer at once, one
# would put back what the other is using. PyTorch spreads each pass over the cores by itself.
_one_at_a_time = threading.RLock()


def run_module(
    module: nn.Module, batches: Iterable[np.ndarray], classes: int, *, device: str | None = None, views: str = "none"
) -> np.ndarray:
    """The logits float32 [N, K] of batches float32 [n, C, H, W]. The device is waited for once, at the end.

    device: where the module is; that of its first parameter by default. views: see `Views`.
    """
    network = module if views == "none" else Views(module, views, classes)
    with _one_at_a_time, undisturbed(), torch.inference_mode(), evaluation_mode(module):
        device = device or str(next(iter(module.parameters()), torch.empty(0)).device)
        found = [logits_of(network, torch.from_numpy(x).to(device), classes).float() for x in batches]
        return torch.cat(found).cpu().numpy() if found else np.zeros((0, classes), np.float32)
