"""Evaluation against scikit-learn, SciPy and PyTorch."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from convlens.base.errors import InputError
from convlens.classify.evaluation import Evaluation, evaluate, from_logits, wilson_interval
from typed import present


def _random(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) * 3
    logits[np.arange(n), labels] += 1.5
    return logits.astype(np.float32), labels


def _classes(k: int) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(k))


@given(n=st.integers(1, 200), k=st.integers(2, 12), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_figures_agree_with_scikit_learn(n: int, k: int, seed: int):
    logits, labels = _random(n, k, seed)
    found = from_logits(logits, labels, _classes(k))
    everything = list(range(k))
    assert found.n == n
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, logits.argmax(1)))
    np.testing.assert_array_equal(
        found.confusion, metrics.confusion_matrix(labels, logits.argmax(1), labels=everything)
    )
    undefined: Any = np.nan  # which its annotation leaves out
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, logits.argmax(1), labels=everything, zero_division=undefined
    )
    rows = found.per_class
    assert [row["class"] for row in rows] == list(_classes(k))
    assert [row["n"] for row in rows] == list(present(support))
    np.testing.assert_allclose([row["precision"] for row in rows], precision)
    np.testing.assert_allclose([row["recall"] for row in rows], recall)
    np.testing.assert_allclose([row["f1"] for row in rows], f1)


@given(n=st.integers(1, 100), k=st.integers(2, 8), seed=st.integers(0, 2**31), scale=st.sampled_from([1, 30, 1000]))
@settings(deadline=None, max_examples=30)
def test_loss_and_probabilities_agree_with_pytorch_in_float64(n: int, k: int, seed: int, scale: int):
    logits, labels = _random(n, k, seed)
    logits *= scale
    found = from_logits(logits, labels, _classes(k))
    exact = torch.from_numpy(logits).double()
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(exact, torch.from_numpy(labels)).item())
    np.testing.assert_allclose(found.probabilities, exact.softmax(1).numpy(), atol=1e-7)
    assert found.probabilities.dtype == np.float32


@given(n=st.integers(1, 20000), share=st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_the_wilson_interval_agrees_with_scipy(n: int, share: float):
    correct = round(share * n)
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mistakes_come_surest_first_and_hold_no_correct_answer():
    logits, labels = _random(300, 5, 1)
    found = from_logits(logits, labels, _classes(5))
    order = found.mistakes()
    confidence = found.probabilities.max(1)[order]
    assert set(order) == set(np.flatnonzero(logits.argmax(1) != labels))
    assert (np.diff(confidence) <= 0).all()
    np.testing.assert_array_equal(found.mistakes(7), order[:7])


def test_a_perfect_classifier_has_no_mistakes_and_a_one_sided_interval():
    found = from_logits(np.eye(3) * 50, np.arange(3), _classes(3))
    assert len(found.mistakes(5)) == 0
    assert found.accuracy == 1
    assert found.interval[1] == 1
    assert found.interval[0] < 0.5


def test_a_class_that_never_occurs_has_undefined_figures():
    found = from_logits(np.array([[5.0, 0.0, 0.0]]), np.array([0]), _classes(3))
    assert math.isnan(found.per_class[2]["recall"])
    assert math.isnan(found.per_class[2]["precision"])
    assert found.per_class[0]["f1"] == 1


class _Noisy(torch.nn.Module):
    """A linear classifier behind a dropout that must be off during an evaluation."""

    def __init__(self):
        super().__init__()
        self.frozen = torch.nn.BatchNorm2d(1).eval()
        self.drop = torch.nn.Dropout(0.9)
        self.linear = torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.linear(self.drop(self.frozen(x).flatten(1)))


def _batches(x, y, size):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def test_evaluate_runs_in_evaluation_mode_and_puts_each_flag_back():
    module = _Noisy().train()
    module.frozen.eval()
    x, y = torch.randn(50, 1, 4, 4), torch.randint(0, 3, (50,))
    found = evaluate(module, _batches(x, y, 16), _classes(3))
    assert module.training
    assert module.drop.training
    assert not module.frozen.training
    module.eval()
    with torch.no_grad():
        expected = module(x)
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(expected, y).item(), rel=1e-5)
    np.testing.assert_array_equal(found.predicted, expected.argmax(1).numpy())


def test_evaluate_does_not_depend_on_the_batch_size():
    module = _Noisy()
    x, y = torch.randn(64, 1, 4, 4), torch.randint(0, 3, (64,))
    one = evaluate(module, _batches(x, y, 1), _classes(3))
    other = evaluate(module, _batches(x, y, 64), _classes(3))
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)


def test_evaluate_puts_the_flags_back_when_the_network_fails():
    module = _Noisy().train()
    with pytest.raises(InputError, match="cannot take a batch"):
        evaluate(module, [(torch.randn(2, 1, 5, 5), torch.zeros(2, dtype=torch.long))], _classes(3))
    assert module.training


def test_bfloat16_logits_give_probabilities_that_sum_to_one():
    module = _Noisy().to(torch.bfloat16)
    x, y = torch.randn(8, 1, 4, 4, dtype=torch.bfloat16), torch.zeros(8, dtype=torch.long)
    found = evaluate(module, [(x, y)], _classes(3))
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-6)


def test_outputs_of_another_shape_are_named():
    module = _Noisy()
    batch = (torch.randn(2, 1, 4, 4), torch.zeros(2, dtype=torch.long))
    with pytest.raises(InputError, match=r"shape \(2, 4\).*it gave a tensor of shape \(2, 3\)"):
        evaluate(module, [batch], _classes(4))


def test_no_images_and_wrong_labels_are_refused():
    with pytest.raises(InputError, match="no images"):
        evaluate(_Noisy(), [], _classes(3))
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.2"):
        evaluate(_Noisy(), [(torch.randn(1, 1, 4, 4), torch.tensor([3]))], _classes(3))


def test_a_diverged_network_shows_in_the_loss_and_warns_of_nothing():
    assert math.isnan(from_logits(np.array([[np.inf, np.inf], [0, 0]]), np.array([0, 1]), _classes(2)).loss)


def test_probabilities_must_fit_labels_and_classes():
    with pytest.raises(InputError, match=r"shape \(2, 3\)"):
        Evaluation(_classes(3), np.zeros(2, np.int64), np.zeros((2, 2), np.float32), 0.0)


@given(n=st.integers(1, 200), k=st.integers(2, 12), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_the_pairs_confused_are_the_cells_beside_the_diagonal(n: int, k: int, seed: int):
    found = from_logits(*_random(n, k, seed), _classes(k))
    matrix = metrics.confusion_matrix(found.labels, found.predicted, labels=list(range(k)))
    cells = {(i, j): int(matrix[i, j]) for i in range(k) for j in range(k) if i != j and matrix[i, j]}
    assert {(i, j): count for i, j, count in found.confused()} == cells
    counts = [count for *_, count in found.confused(3)]
    assert counts == sorted(cells.values(), reverse=True)[:3]


def test_a_hundred_thousand_classes_need_no_matrix_of_all_pairs():
    k, n = 100_000, 20
    logits = np.zeros((n, k), np.float32)
    logits[np.arange(n), np.arange(n) + (np.arange(n) % 2)] = 5
    tracemalloc.start()
    found = from_logits(logits, np.arange(n), _classes(k))
    assert (found.accuracy, len(found.confused()), found.confused(1)) == (0.5, 10, [(1, 2, 1)])
    assert [row["n"] for row in found.per_class[:21]] == [1] * 20 + [0]
    assert tracemalloc.get_traced_memory()[1] < 300 << 20
    tracemalloc.stop()
    with pytest.raises(InputError, match="confused"):
        _ = found.confusion


def test_the_answer_is_shown_in_one_line():
    assert repr(from_logits(*_random(5, 2, 0), _classes(2))).startswith("Evaluation(accuracy ")
