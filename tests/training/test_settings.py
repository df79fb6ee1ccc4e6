"""Numeric settings: what is settled at the start, and what is said where a wish cannot be had."""

import pytest
import torch

import convlens as cl
from convlens.classify.caller import undisturbed
from convlens.training import settings


def test_without_a_compiler_a_run_that_was_to_be_compiled_goes_on_and_says_why(monkeypatch):
    monkeypatch.setattr(settings.shutil, "which", lambda name: None)
    numeric = settings.settle("cpu", compile=True)
    assert not numeric.compile
    assert "no" in numeric.reasons["compile"]
    assert "compiler" in numeric.reasons["compile"]


def test_compilation_is_off_unless_asked_for():
    assert not settings.settle("cpu").compile


@pytest.fixture
def switches():
    """PyTorch's switches, as they start, and put back by the context that training runs in."""
    with undisturbed():
        yield torch.backends.cudnn


def on_a_gpu(deterministic: bool) -> settings.Numeric:
    return settings.Numeric("cuda", "float32", channels_last=True, threads=1, deterministic=deterministic)


def test_kernels_are_chosen_by_trial_only_where_the_bits_may_change(switches):
    settings.apply(on_a_gpu(deterministic=False))
    assert switches.benchmark
    settings.apply(on_a_gpu(deterministic=True))
    assert not switches.benchmark
    assert torch.are_deterministic_algorithms_enabled()


def test_a_caller_who_wants_the_same_bits_gets_them(switches):
    switches.deterministic = True
    settings.apply(on_a_gpu(deterministic=False))
    assert not switches.benchmark
    torch.use_deterministic_algorithms(True)
    assert settings.settle("cpu").deterministic
    settings.apply(on_a_gpu(deterministic=True))
    assert not torch.is_deterministic_algorithms_warn_only_enabled()  # not weakened


@pytest.mark.parametrize("benchmark", [False, True])
def test_the_callers_choice_of_kernels_is_put_back(monkeypatch, benchmark):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", benchmark)
    with undisturbed():
        settings.apply(on_a_gpu(deterministic=not benchmark))
    assert torch.backends.cudnn.benchmark is benchmark
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_run_trains_as_well(tmp_path):
    if not settings.settle("cpu", compile=True).compile:
        pytest.skip("no C++ compiler on this machine")
    run = cl.train("sprint", "digits", epochs=10, settings=("compile=true",), out=tmp_path / "run", quiet=True)
    assert run.record.numeric["compile"]
    assert run.results["test"]["accuracy"] > 0.9
