"""PyTorch's random states, put back after a block that draws."""

from contextlib import AbstractContextManager

import torch


def same_random_state() -> AbstractContextManager[None]:
    """Afterwards the generators of the CPU and of every GPU in use are as before. A GPU not in use is not started."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    return torch.random.fork_rng(gpus, device_type="cuda")
