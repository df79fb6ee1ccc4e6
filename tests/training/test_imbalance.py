"""Rare classes: what the macro figures say, and how validation decides whether they weigh more."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score

import convlens as cl
from convlens.base.errors import InputError
from convlens.classify.evaluation import from_logits
from convlens.training import imbalance


@pytest.fixture(scope="module")
def few_nines():
    """Fours and nines, of the latter a tenth."""
    found: Any = load_digits()
    chosen = np.concatenate([np.flatnonzero(found.target == 4), np.flatnonzero(found.target == 9)[:24]])
    return (found.images[chosen] * 15).astype(np.uint8), found.target[chosen]


@pytest.mark.parametrize("seed", range(4))
def test_macro_f1_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 40) if seed else np.zeros(40, np.int64)
    logits = rng.normal(size=(40, 5))
    judged = from_logits(logits, labels, "abcde")
    assert judged.macro_f1 == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"), abs=1e-12)


def test_a_run_says_its_macro_f1_beside_the_accuracy(few_nines, tmp_path):
    run = cl.train("lenet5", data=few_nines, epochs=3, out=tmp_path / "run", quiet=True)
    judged = run.evaluate(few_nines)
    assert 0 <= run.results["test"]["macro_f1"] <= 1
    assert judged.macro_f1 <= 1


@pytest.mark.parametrize("best", ["none", "balanced"])
def test_the_way_with_the_higher_macro_f1_is_taken_and_said(few_nines, tmp_path, monkeypatch, capsys, best):
    given = {"none": 0.6, "balanced": 0.6 if best == "none" else 0.7}
    monkeypatch.setattr(imbalance, "_tried", lambda experiment, seconds: given[experiment.plan.recipe.class_weights])
    run = cl.train(
        "lenet5", data=few_nines, epochs=1, settings=["class_weights=auto"], out=tmp_path / "run"
    )  # fmt: skip
    assert run.record.recipe["class_weights"] == best
    assert f"class_weights: {best}, by macro F1" in capsys.readouterr().err


def test_the_trials_leave_the_run_as_it_would_be(few_nines, tmp_path):
    chosen = cl.train(
        "lenet5", data=few_nines, epochs=8, settings=["class_weights=auto"], out=tmp_path / "auto", quiet=True
    )
    way = chosen.record.recipe["class_weights"]
    named = cl.train(
        "lenet5", data=few_nines, epochs=8, settings=[f"class_weights={way}"], out=tmp_path / "named", quiet=True
    )
    assert (chosen.path / "weights.safetensors").read_bytes() == (named.path / "weights.safetensors").read_bytes()


def test_within_a_budget_it_is_decided_too(few_nines, tmp_path):
    run = cl.train(
        "lenet5", data=few_nines, epochs=4, settings=["class_weights=auto"], budget="30s", out=tmp_path / "run",
        quiet=True,
    )  # fmt: skip
    assert run.record.recipe["class_weights"] in imbalance.WAYS


def test_without_validation_images_nothing_can_be_decided(few_nines, tmp_path):
    with pytest.raises(InputError, match="needs validation images"):
        cl.train(
            "lenet5", data=few_nines, epochs=1, settings=["class_weights=auto", "val_fraction=0"],
            out=tmp_path / "run", quiet=True,
        )  # fmt: skip
