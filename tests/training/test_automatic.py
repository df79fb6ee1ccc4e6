"""`train auto`: what it chooses follows from the images and from the time; the result is a run like any other."""

import time
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import convlens as cl
from convlens.models import pretrained
from convlens.training import automatic
from convlens.training.automatic import Candidate


@pytest.fixture(scope="module")
def digits():
    found: Any = load_digits()
    return (found.images * 15).astype(np.uint8), found.target


def squares(count: int, side: int = 96):
    """Colored noise of two kinds, as large as photographs: fine and coarse."""
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    coarse = rng.integers(0, 256, (count, side // 16, side // 16, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    return np.concatenate([fine, coarse]), np.repeat([0, 1], count)


@pytest.mark.slow
def test_digits_are_learned_in_the_time_there_is(digits, tmp_path, capsys):
    began = time.perf_counter()
    run = cl.train("auto", data=digits, budget="16s", out=tmp_path / "run")
    assert time.perf_counter() - began < 17.6
    assert run.results["test"]["accuracy"] > 0.95
    said = capsys.readouterr().err
    assert f"auto: {run.record.model.name}" in said


def test_the_network_that_validation_likes_best_wins(digits, tmp_path, monkeypatch):
    """A network without any hidden map of use against one that learns."""
    monkeypatch.setattr(automatic, "CANDIDATES", (Candidate("mlp", "default"), Candidate("sprint", "fast")))
    found = {"mlp": 0.5, "sprint": 0.9}

    def raced(candidate, experiment, deadline):
        return automatic.Raced(candidate, found[candidate.model], 1.0, 2)

    monkeypatch.setattr(automatic, "_trained", raced)
    first = cl.train("auto", data=digits, epochs=1, budget="1m", out=tmp_path / "a", quiet=True)
    found["mlp"] = 0.95
    second = cl.train("auto", data=digits, epochs=1, budget="1m", out=tmp_path / "b", quiet=True)
    assert (first.record.model.name, second.record.model.name) == ("sprint", "mlp")


def test_the_race_leaves_the_run_as_it_would_be_without(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(automatic, "CANDIDATES", (Candidate("sprint", "fast"),))
    chosen = cl.train("auto", data=digits, epochs=2, budget="1m", out=tmp_path / "auto", quiet=True)
    asked = cl.train("sprint", recipe="fast", data=digits, epochs=2, out=tmp_path / "asked", quiet=True)
    assert (chosen.path / "weights.safetensors").read_bytes() == (asked.path / "weights.safetensors").read_bytes()


@pytest.mark.skipif(pretrained.get("efficientnet_lite0").path is None, reason="its weights are not installed")
def test_large_pictures_take_trained_features_and_less_time_takes_smaller_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(automatic, "_seconds_a_picture", lambda side: 1.0 * (side / 288) ** 2)
    run = cl.train("auto", data=squares(12), budget="12s", epochs=2, out=tmp_path / "little")
    assert run.record.recipe["head"] == "features"
    assert run.record.preprocess["size"] == [96, 96]
    assert run.results["test"]["accuracy"] == 1.0
    asked = cl.train("auto", data=squares(12), budget="12s", size=64, epochs=2, out=tmp_path / "asked", quiet=True)
    assert asked.record.preprocess["size"] == [64, 64]
    assert "photographs; features of efficientnet_lite0" in capsys.readouterr().err


def test_a_run_that_was_chosen_goes_on_without_choosing_again(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(automatic, "CANDIDATES", (Candidate("sprint", "fast"),))
    cl.train("auto", data=digits, epochs=1, budget="1m", out=tmp_path / "run", quiet=True)

    def never(*_):
        raise AssertionError("raced again")

    monkeypatch.setattr(automatic, "_race", never)
    again = cl.train("auto", data=digits, out=tmp_path / "run", resume=True, quiet=True)
    assert again.record.model.name == "sprint"
