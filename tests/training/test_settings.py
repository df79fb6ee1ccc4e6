"""Numeric settings: what is settled at the start, and what is said where a wish cannot be had."""

import pytest

import convlens as cl
from convlens.training import settings


def test_without_a_compiler_a_run_that_was_to_be_compiled_goes_on_and_says_why(monkeypatch):
    monkeypatch.setattr(settings.shutil, "which", lambda name: None)
    numeric = settings.settle("cpu", compile=True)
    assert not numeric.compile
    assert "no" in numeric.reasons["compile"]
    assert "compiler" in numeric.reasons["compile"]


def test_compilation_is_off_unless_asked_for():
    assert not settings.settle("cpu").compile


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_run_trains_as_well(tmp_path):
    if not settings.settle("cpu", compile=True).compile:
        pytest.skip("no C++ compiler on this machine")
    run = cl.train("sprint", "digits", epochs=10, settings=("compile=true",), out=tmp_path / "run", quiet=True)
    assert run.record.numeric["compile"]
    assert run.results["test"]["accuracy"] > 0.9
