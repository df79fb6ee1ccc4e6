"""Whatever the caller has switched on, and however a call of ours ends: afterwards his process is as it was."""

import contextlib
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.classify.caller import undisturbed

SWITCHES = {
    "threads": (torch.set_num_threads, torch.get_num_threads, st.integers(1, 4)),
    "dtype": (torch.set_default_dtype, torch.get_default_dtype, st.sampled_from([torch.float32, torch.float64])),
    "deterministic": (torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled, st.booleans()),
    "anomaly": (torch.autograd.set_detect_anomaly, torch.is_anomaly_enabled, st.booleans()),
    "benchmark": (
        lambda on: setattr(torch.backends.cudnn, "benchmark", on),
        lambda: torch.backends.cudnn.benchmark,
        st.booleans(),
    ),
    "autocast cache": (torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled, st.booleans()),
    "seed": (torch.manual_seed, torch.get_rng_state, st.integers(0, 9)),
    "seed of NumPy": (np.random.seed, lambda: np.random.get_state(legacy=False)["state"]["key"], st.integers(0, 9)),  # noqa: NPY002
    "seed of Python": (random.seed, random.getstate, st.integers(0, 9)),
}
BLOCKS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast off": lambda: torch.autocast("cpu", enabled=False),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "meta": lambda: torch.device("meta"),
}


def seen() -> list:
    """All that the caller can look at, as values that can be compared."""
    nesting = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return [
        *(getter().tolist() if hasattr(getter(), "tolist") else getter() for _, getter, _ in SWITCHES.values()),
        nesting,
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    ]


@pytest.fixture(autouse=True)
def _as_it_was():
    before = {name: getter() for name, (_, getter, _) in SWITCHES.items() if "seed" not in name}
    yield
    for name, value in before.items():
        SWITCHES[name][0](value)


@settings(max_examples=40, deadline=None)
@given(
    values=st.fixed_dictionaries({name: strategy for name, (_, _, strategy) in SWITCHES.items()}),
    others=st.fixed_dictionaries({name: strategy for name, (_, _, strategy) in SWITCHES.items()}),
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), max_size=3),
    ending=st.sampled_from([None, ValueError, KeyboardInterrupt, SystemExit]),
)
def test_all_that_the_caller_has_set_is_as_before_however_it_ends(values, others, blocks, ending):
    with contextlib.ExitStack() as stack:
        for block in blocks:
            stack.enter_context(BLOCKS[block]())
        for name, value in values.items():
            SWITCHES[name][0](value)
        before = seen()
        with pytest.raises(ending) if ending else contextlib.nullcontext(), undisturbed():
            assert torch.zeros(1).dtype == torch.float32
            assert torch.zeros(1).device.type == "cpu"
            assert (torch.nn.Parameter(torch.zeros(1)) * 2).requires_grad
            assert (torch.zeros(2, 2) @ torch.zeros(2, 2)).dtype == torch.float32
            for name, value in others.items():
                SWITCHES[name][0](value)
            _ = torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
            if ending:
                raise ending
        assert seen() == before


def test_weights_that_a_step_cast_are_forgotten_within_a_block_of_the_callers():
    weight, x = torch.nn.Parameter(torch.ones(4, 4)), torch.ones(4, 4)
    results = []
    with torch.autocast("cpu", dtype=torch.bfloat16), undisturbed():
        for _ in range(2):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                results.append((x @ weight).sum().item())
            with torch.no_grad():
                weight *= 2
    assert results == [64, 128]


def test_the_new_names_of_tf32_are_no_trouble():
    """PyTorch refuses to be asked by the old names once the new ones were used."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with undisturbed():
            pass
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


def test_threads_are_no_more_than_may_run(monkeypatch):
    monkeypatch.setattr("convlens.classify.caller.usable_cores", lambda: 1)
    torch.set_num_threads(2)
    with undisturbed():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
