"""What belongs to the caller's process: random states, threads, PyTorch's switches. Put back whatever happens."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from convlens.base.hardware import usable_cores
from convlens.models.random_state import same_random_state


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, PyTorch is as it starts, whatever the caller has switched; afterwards all is as the caller had it.

    As it starts: new tensors are float32 on the CPU, gradients are on, inference mode and autocast are off. No more
    threads than cores may be used. Put back, also after an error or Ctrl-C: all that, the random states of PyTorch
    (every device), NumPy and Python, deterministic algorithms, cuDNN's flags and anomaly detection.
    """
    with contextlib.ExitStack() as stack:
        for part in (_random_states, _threads, _switches, _defaults, _no_autocast):
            stack.enter_context(part())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


@contextlib.contextmanager
def _random_states() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    gpus = torch.cuda.is_initialized()
    metal = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with same_random_state():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if not gpus and torch.cuda.is_initialized():  # by us: seeded as the caller's first use would have been
            torch.cuda.manual_seed_all(torch.initial_seed())
        if metal is not None:
            torch.mps.set_rng_state(metal)


@contextlib.contextmanager
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(min(threads, usable_cores()))
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _switches() -> Iterator[None]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    anomalies = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    cudnn: Any = torch.backends.cudnn
    flags = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    try:
        yield
    finally:
        now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if now != (deterministic, warn_only):  # not without need: it imports PyTorch's compiler, which takes a second
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.autograd.set_detect_anomaly(*anomalies)
        for name, flag in flags.items():
            if getattr(cudnn, name) != flag:  # PyTorch's own test tools forbid any setting, so none without need
                setattr(cudnn, name, flag)


@contextlib.contextmanager
def _defaults() -> Iterator[None]:
    dtype = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    try:
        torch.set_default_dtype(torch.float32)
        with torch.device("cpu") if elsewhere else contextlib.nullcontext():  # a block costs time in every call
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def _no_autocast() -> Iterator[None]:
    """As outside of every autocast block of the caller's.

    Weights that were cast are forgotten when the outermost block ends. Within a block of the caller's that would be
    after the run: each step would use the weights of the first. So his blocks do not count as long as this one lasts.
    """
    kinds = ("cpu", "cuda", "mps")
    enabled, cached = [torch.is_autocast_enabled(kind) for kind in kinds], torch.is_autocast_cache_enabled()
    depth = torch.autocast_increment_nesting() - 1
    for _ in range(depth + 1):
        torch.autocast_decrement_nesting()
    try:
        torch.clear_autocast_cache()
        torch.set_autocast_cache_enabled(True)
        for kind in kinds:
            torch.set_autocast_enabled(kind, False)
        yield
    finally:
        for kind, before in zip(kinds, enabled, strict=True):
            torch.set_autocast_enabled(kind, before)
        torch.set_autocast_cache_enabled(cached)
        torch.clear_autocast_cache()
        for _ in range(depth):
            torch.autocast_increment_nesting()
