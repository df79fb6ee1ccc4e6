"""What belongs to the caller's process: random states, threads, PyTorch's switches. Put back whatever happens."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from convlens.base.hardware import usable_cores


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, PyTorch starts no more threads than cores may be used, gradients are on and autocast is off.

    Afterwards, also after an error, the random states of torch, NumPy and Python, the number of threads, grad mode,
    cuDNN's flags, TF32 and the deterministic mode are those of before.
    """
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    autocast = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    flags = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32)
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        try:
            torch.set_num_threads(min(threads, usable_cores()))
            # not `with torch.autocast`: weights that a step cast are only forgotten when the outermost block ends
            for kind in autocast:
                torch.set_autocast_enabled(kind, False)
            yield
        finally:
            torch.set_num_threads(threads)
            for kind, enabled in autocast.items():
                torch.set_autocast_enabled(kind, enabled)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = flags
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
