"""How a PyTorch module answers: on its device, in evaluation mode, in a process that is left as it was."""

import contextlib
import threading
from collections.abc import Iterator

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


@contextlib.contextmanager
def at_work(module: nn.Module) -> Iterator[str]:
    """Inside, the module may be run: in evaluation mode, by one thread at a time, in a process that is left as it was.

    Yields the device of its first parameter ("cpu" where it has none).
    """
    with _one_at_a_time, undisturbed(), evaluation_mode(module):
        yield str(next(iter(module.parameters()), torch.zeros(0)).device)


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
    with at_work(module) as here, torch.inference_mode():
        device = device or here
        for start in range(0, len(pixels), batch):
            x = torch.from_numpy(preprocess.normalize(pixels[start : start + batch])).to(device)
            found.append(logits_of(network, x, classes).float())
        return torch.cat(found[1:] or found).cpu().numpy()
