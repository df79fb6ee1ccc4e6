"""A time budget: it holds, it changes nothing but the number of epochs, and there is a result when it ends."""

import time
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import convlens as cl
from convlens.base.errors import InputError
from convlens.training import budget
from convlens.training.options import parse_budget


@pytest.fixture(scope="module")
def digits():
    found: Any = load_digits()
    return (found.images * 15).astype(np.uint8), found.target


def weights(run):
    return (run.path / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("1h", 3600), (20, 20), (2.5, 2.5)]
)
def test_a_time_is_read_as_people_write_it(text, seconds):
    assert parse_budget("budget", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "0", "5d", "nan", "inf", True, "1e9h"])
def test_what_is_no_time_is_one_line(text):
    with pytest.raises(InputError, match="as in 90s, 5m or 1h"):
        parse_budget("budget", text)


def test_a_run_that_would_take_an_hour_ends_in_its_budget_with_a_result(digits, tmp_path):
    began = time.perf_counter()
    run = cl.train("lenet5", data=digits, epochs=20_000, budget=9, out=tmp_path / "run", quiet=True)
    took = time.perf_counter() - began
    assert took < 9.9
    assert run.results["test"]["accuracy"] > 0.8
    assert 1 <= run.results["epochs"] < 20_000
    assert (run.path / "report.html").exists()


def test_measuring_the_speed_changes_no_bit_of_what_follows(digits, tmp_path):
    plain = cl.train("lenet5", data=digits, epochs=2, out=tmp_path / "plain", quiet=True)
    timed = cl.train("lenet5", data=digits, epochs=2, budget="1h", out=tmp_path / "timed", quiet=True)
    assert weights(plain) == weights(timed)


def test_the_epochs_that_fit_are_in_the_plan_and_train_the_same_weights_without_a_budget(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "measured", lambda _: budget.Speed(10.0, 1.0, 5.0))
    run = cl.train("lenet5", data=digits, budget=45, out=tmp_path / "run", quiet=True)
    assert run.record.recipe["epochs"] == run.results["epochs"] == 3  # 0.85 x 40 seconds at 11 an epoch
    again = cl.train("lenet5", data=digits, epochs=3, out=tmp_path / "again", quiet=True)
    assert weights(again) == weights(run)


def test_a_budget_that_cannot_hold_is_said_with_one_that_can(digits, tmp_path, capsys):
    cl.train("lenet5", data=digits, epochs=50, budget=1, out=tmp_path / "run")
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: budget 1 s is less than the start, the test and the report take" in said
    assert "give at least" in said


def test_when_time_is_up_within_an_epoch_the_run_ends_there_and_says_so(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "measured", lambda _: budget.Speed(0.001, 0.0, 3.0))
    monkeypatch.setattr(budget.Deadline, "left", property(lambda _: -1.0))
    run = cl.train("lenet5", data=digits, epochs=50, budget=2, out=tmp_path / "run", quiet=True)
    assert run.results["stopped"] | {"planned": 1} == {
        "reason": "budget", "epoch": 1, "planned": 1, "best_epoch": 1, "patience": 0,
    }  # fmt: skip
    assert run.results["test"]["n"] > 300
    assert "time was up" in (run.path / "report.html").read_text("utf-8")
    assert run.predict(digits[0][0]).label in map(str, range(10))
