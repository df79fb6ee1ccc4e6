"""What the report says beside the accuracy."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from convlens.classify.evaluation import from_logits
from convlens.report.charts import Series, line_chart
from convlens.report.words import disagreement, majority


def _run(val: float, test: float, n_val: int = 1000, n_test: int = 1000) -> Any:
    results = {"val": {"accuracy": val}, "test": {"accuracy": test}}
    return SimpleNamespace(results=results, data=SimpleNamespace(counts={"val": n_val, "test": n_test}))


def test_a_planted_disagreement_of_validation_and_test_is_said():
    assert "lower" in disagreement(_run(0.95, 0.80))
    assert "higher" in disagreement(_run(0.80, 0.95))


def test_agreement_is_silent_in_about_95_of_100_pairs():
    rng = np.random.default_rng(0)
    pairs = rng.binomial(1000, 0.9, size=(4000, 2)) / 1000
    remarks = np.mean([bool(disagreement(_run(val, test))) for val, test in pairs])
    assert 0.035 < remarks < 0.065


def test_without_a_result_there_is_no_remark():
    run = _run(0.9, 0.5)
    run.results = None
    assert disagreement(run) == ""
    assert disagreement(_run(0.9, 0.5, n_val=0)) == ""


def test_the_baseline_is_the_share_of_the_largest_class():
    judged = from_logits(np.eye(3)[[0, 1, 1, 1]], np.array([0, 1, 1, 2]), ("a", "b", "c"))
    assert majority(judged) == {"class": "b", "share": 0.5}


def test_no_tick_lies_above_the_largest_possible_value():
    drawn = line_chart([Series("x", "a", [1, 2], [0.15, 0.97])], "Accuracy", form="{:.1f}".format, top=1.0)
    assert ">1.0<" in drawn
    assert ">1.2<" not in drawn
