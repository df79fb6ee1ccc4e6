"""Calibration: bins counted by hand, a planted temperature found again, chance against simulated answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.classify.calibration import (
    calibration,
    expected_error,
    fitted_temperature,
    reliability,
    with_temperature,
)
from convlens.classify.evaluation import from_logits
from typed import present


def _answers(n: int, classes: int, spread: float, seed: int = 0):
    """Logits [n, classes], and labels that are drawn with exactly the probabilities that the logits mean."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * spread
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, labels


def test_bins_and_error_are_those_counted_by_hand():
    confidence = np.array([0.5, 0.51, 0.95, 0.97, 1.0])
    right = np.array([True, False, True, True, False])
    bins = reliability(confidence, right)
    assert len(bins) == 15
    assert [(round(b.low * 15), b.n) for b in bins if b.n] == [(7, 2), (14, 3)]
    assert bins[7].accuracy == 0.5
    assert bins[7].confidence == pytest.approx(0.505)
    expected = 2 / 5 * abs(0.5 - 0.505) + 3 / 5 * abs(2 / 3 - (0.95 + 0.97 + 1) / 3)
    assert expected_error(confidence, right) == pytest.approx(expected)


def test_a_probability_on_the_edge_belongs_to_the_bin_below():
    bins = reliability(np.array([1 / 15, 2 / 15 + 1e-9, 1.0]), np.ones(3, bool))
    assert [k for k, b in enumerate(bins) if b.n] == [0, 2, 14]


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found_and_halves_the_error(planted):
    logits, labels = _answers(20_000, 10, 2.0)
    found = present(calibration(from_logits(logits * planted, labels, tuple("0123456789"))))
    assert found.temperature == pytest.approx(planted, rel=0.03)
    if planted == 1:
        assert found.error < 2 * found.chance
    else:
        assert present(found.mended) < found.error / 4
    assert (found.confidence > found.accuracy + 0.05) == (planted > 1)


def test_a_temperature_gives_the_probabilities_of_the_divided_logits():
    logits, labels = _answers(50, 4, 3.0)
    plain = from_logits(logits, labels, tuple("abcd"))
    divided = from_logits(logits / 2.5, labels, tuple("abcd"))
    np.testing.assert_allclose(with_temperature(plain.probabilities, 2.5), divided.probabilities, atol=1e-6)


def test_chance_is_the_error_of_answers_drawn_with_their_own_probabilities():
    logits, _ = _answers(400, 5, 1.5)
    errors, gaps = [], []
    rng = np.random.default_rng(1)
    for _ in range(300):
        labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        judged = from_logits(logits, labels, tuple("abcde"))
        gaps.append(judged.probabilities.max(axis=1).mean() - judged.accuracy)
        errors.append(expected_error(judged.probabilities.max(axis=1).astype(float), judged.predicted == labels))
    said = present(calibration(from_logits(logits, judged.labels, tuple("abcde"))))
    assert said.spread == pytest.approx(np.std(gaps), rel=0.15)
    assert said.chance == pytest.approx(np.mean(errors), rel=0.1)


def test_without_a_mistake_there_is_no_temperature():
    judged = from_logits(np.eye(3)[[0, 1, 2, 0]] * 4, np.array([0, 1, 2, 0]), tuple("abc"))
    found = present(calibration(judged))
    assert (found.temperature, found.mended) == (None, None)
    assert found.error == pytest.approx(1 - judged.probabilities.max())


def test_a_probability_that_rounds_to_nothing_is_no_obstacle():
    logits = np.array([[400.0, 0.0], [400.0, 0.0], [0.0, 400.0], [0.0, 400.0]])
    found = calibration(from_logits(logits, np.array([0, 1, 1, 1]), ("a", "b")))
    assert present(found).error == pytest.approx(0.25)


def test_of_one_image_nothing_can_be_said():
    assert calibration(from_logits(np.eye(2)[:1], np.zeros(1, int), ("a", "b"))) is None


@given(st.integers(2, 60), st.integers(2, 6), st.floats(0.1, 30), st.integers(0, 1000))
def test_the_fitted_temperature_never_makes_the_loss_larger(n, classes, spread, seed):
    rng = np.random.default_rng(seed)
    judged = from_logits(
        rng.normal(size=(n, classes)) * spread, rng.integers(0, classes, n), tuple(map(str, range(classes)))
    )
    temperature = fitted_temperature(judged.probabilities, judged.labels)
    if temperature is not None:
        rows = np.arange(n)
        before = -np.log(np.maximum(judged.probabilities[rows, judged.labels], 1e-45)).mean()
        after = -np.log(np.maximum(with_temperature(judged.probabilities, temperature)[rows, judged.labels], 1e-300))
        assert after.mean() <= before + 1e-6
