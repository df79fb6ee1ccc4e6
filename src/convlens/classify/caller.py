"""What belongs to the caller's process: random states, threads, PyTorch's switches. Put back whatever happens."""

import contextlib
import random
from operator import attrgetter
from typing import Any, Self

import numpy as np
import torch

from convlens.base.hardware import usable_cores

_CUDNN = ("enabled", "benchmark", "deterministic")
_deterministic = torch.are_deterministic_algorithms_enabled


class undisturbed:  # noqa: N801 - used like a function: `with undisturbed():`
    """Inside, PyTorch is as it starts, whatever the caller has switched; afterwards all is as the caller had it.

    As it starts: new tensors are float32 on the CPU, gradients are on, inference mode and autocast are off. No more
    threads than cores may be used. Put back, also after an error or Ctrl-C: all that, the random states of PyTorch
    (every device), NumPy and Python, deterministic algorithms, cuDNN's flags and anomaly detection.
    """

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:  # each value is noted to be put back before it is changed
            stack.callback(random.setstate, random.getstate())
            stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
            if torch.backends.mps.is_available():
                stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
            if torch.cuda.is_initialized():
                for gpu in range(torch.cuda.device_count()):
                    stack.callback(torch.cuda.set_rng_state, torch.cuda.get_rng_state(gpu), gpu)
            elif torch.backends.cuda.is_built():
                stack.callback(_seed_new_gpus)
            stack.callback(torch.set_rng_state, torch.get_rng_state())
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
            anomalies = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
            stack.callback(torch.autograd.set_detect_anomaly, *anomalies)
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(torch.float32)
            if torch.get_default_device().type != "cpu":  # such a block costs time in every call
                stack.enter_context(torch.device("cpu"))
            _leave_autocast(stack)
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            self._deterministic = _deterministic(), torch.is_deterministic_algorithms_warn_only_enabled()
            self._cudnn = attrgetter(*_CUDNN)(torch.backends.cudnn)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._stack.__exit__(*error)
        finally:  # not without need: the first imports PyTorch's compiler, its own test tools forbid the others
            before, warn_only = self._deterministic
            if (_deterministic(), torch.is_deterministic_algorithms_warn_only_enabled()) != (before, warn_only):
                torch.use_deterministic_algorithms(before, warn_only=warn_only)
            for name, flag in zip(_CUDNN, self._cudnn, strict=True):
                if getattr(torch.backends.cudnn, name) != flag:
                    setattr(torch.backends.cudnn, name, flag)


def _seed_new_gpus() -> None:
    """GPUs that were first used inside are seeded as the caller's first use would have seeded them."""
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(torch.initial_seed())


def _leave_autocast(stack: contextlib.ExitStack) -> None:
    """As outside of every autocast block of the caller's, until the stack ends.

    Weights that were cast are forgotten when the outermost block ends. Within a block of the caller's that would be
    after the run: each step would use the weights of the first. So his blocks do not count as long as this one lasts.
    """
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    for _ in range(depth):
        stack.callback(torch.autocast_increment_nesting)
        torch.autocast_decrement_nesting()
    stack.callback(torch.clear_autocast_cache)
    stack.callback(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled())
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(True)
    for kind in ("cpu", "cuda", "mps"):
        stack.callback(torch.set_autocast_enabled, kind, torch.is_autocast_enabled(kind))
        torch.set_autocast_enabled(kind, False)
