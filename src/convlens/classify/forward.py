"""How a PyTorch module answers: on its device, in evaluation mode, in a process that is left as it was."""

import threading

import numpy as np
import torch
from torch import nn

from convlens.classify.caller import undisturbed
from convlens.classify.outputs import logits_of
from convlens.classify.views import Views
from convlens.data.preprocess import Preprocess
from convlens.data.store.rows import Pixels
from convlens.models.modes import evaluation_mode

# Training flags, threads and PyTorch's switches belong to the whole process: of two threads that answer at once, one
# would put back what the other is using. PyTorch spreads each pass over the cores by itself.
_one_at_a_time = threading.RLock()


def run_module(
    module: nn.Module,
    preprocess: Preprocess,
    pixels: Pixels,
    classes: int,
    *,
    batch: int,
    device: str | None = None,
    views: str = "none",
) -> np.ndarray:
    """The logits float32 [N, K] of prepared pixels uint8 [N, H, W, C]. The device is waited for once, at the end.

    device: where the module is; that of its first parameter by default. views: see `Views`.
    """
    network = module if views == "none" else Views(module, views, classes)
    found = [torch.zeros(0, classes)]
    with _one_at_a_time, undisturbed(), torch.inference_mode(), evaluation_mode(module):
        device = device or str(next(iter(module.parameters()), found[0]).device)
        for start in range(0, len(pixels), batch):
            x = torch.from_numpy(preprocess.normalize(pixels[start : start + batch])).to(device)
            found.append(logits_of(network, x, classes).float())
        return torch.cat(found[1:] or found).cpu().numpy()
