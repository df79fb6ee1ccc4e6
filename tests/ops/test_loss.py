"""Losses and penalties against PyTorch (or the definition in PyTorch's operations) and central differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checking import assert_close, check_operation, distinct, normal

from convlens import ops

POSITIVE = ("mape", "msle", "poisson", "kl_divergence")


def probabilities(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def targets(name, shape):
    if name in ("hinge", "squared_hinge"):
        return np.sign(normal(*shape, seed=2))
    if name == "categorical_hinge":
        return np.eye(shape[-1])[np.arange(shape[0]) % shape[-1]]
    if name == "kl_divergence":
        return probabilities(normal(*shape, seed=2))
    return np.abs(normal(*shape, seed=2)) if name in POSITIVE else normal(*shape, seed=2)


def categorical_hinge(p, t):
    return F.relu(((1 - t) * p).amax(-1) - (t * p).sum(-1) + 1).mean()


REFERENCES = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
    "log_cosh": lambda p, t: torch.log(torch.cosh(p - t)).mean(),
    "mape": lambda p, t: 100 * (torch.abs(p - t) / torch.abs(t)).mean(),
    "msle": lambda p, t: ((torch.log1p(p) - torch.log1p(t)) ** 2).mean(),
    "poisson": lambda p, t: F.poisson_nll_loss(p, t, log_input=False, eps=1e-7),
    "hinge": lambda p, t: F.relu(1 - t * p).mean(),
    "squared_hinge": lambda p, t: (F.relu(1 - t * p) ** 2).mean(),
    "categorical_hinge": categorical_hinge,
    "kl_divergence": lambda p, t: F.kl_div(p.log(), t, reduction="batchmean"),
    "cosine": lambda p, t: F.cosine_embedding_loss(p, t, torch.ones(len(p))),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_loss_agrees_with_its_definition_in_pytorch(name):
    target = targets(name, (6, 5))
    prediction = distinct(6, 5) * 3
    if name in POSITIVE:
        prediction = probabilities(prediction) + (name == "mape")
    loss, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    if name == "cosine":  # cosine_embedding_loss adds its epsilon to the squared lengths
        assert_close(loss(prediction, target), REFERENCES[name](torch.tensor(prediction), torch.tensor(target)), 1e-9)
        reference = lambda prediction, target: (1 - F.cosine_similarity(prediction, target)).mean()  # noqa: E731
    else:
        reference = lambda prediction, target: REFERENCES[name](prediction, target)  # noqa: E731
    check_operation(loss, backward, reference, {"prediction": prediction, "target": target}, constant=("target",))


@pytest.mark.parametrize("name", REFERENCES)
def test_the_sum_is_the_mean_times_the_number_of_losses(name):
    target = targets(name, (6, 5))
    prediction = probabilities(normal(6, 5))
    loss, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    n = 6 if name in ("categorical_hinge", "kl_divergence", "cosine") else 30
    assert_close(loss(prediction, target, reduction="sum"), loss(prediction, target) * n)
    assert_close(
        backward(1, prediction, target, reduction="sum").prediction, backward(n, prediction, target).prediction
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(7, 4), (2, 3, 4, 2)])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_agrees_with_pytorch(smoothing, weighted, shape, kind, reduction):
    logits = normal(*shape) * 3
    weight = np.abs(normal(shape[1], seed=1)) + 0.1 if weighted else None
    if kind == "labels":
        target = np.random.default_rng(0).integers(0, shape[1], (shape[0], *shape[2:]))
    else:
        target = np.moveaxis(probabilities(normal(shape[0], *shape[2:], shape[1], seed=2)), -1, 1)
    settings = {"smoothing": smoothing, "weight": weight, "reduction": reduction}

    def reference(logits, target):
        w = None if weight is None else torch.tensor(weight)
        return F.cross_entropy(logits, target, weight=w, label_smoothing=smoothing, reduction=reduction)

    # The weights travel beside the arrays, in float64; the float32 run would be float64 with them.
    def single(x):
        return {**settings, "weight": None if weight is None else weight.astype(np.asarray(x).dtype)}

    check_operation(
        lambda logits, target: ops.cross_entropy(logits, target, **single(logits)),
        lambda grad, logits, target: ops.cross_entropy_backward(grad, logits, target, **single(logits)),
        reference,
        {"logits": logits, "target": target},
        constant=("target",),
    )


@pytest.mark.parametrize("positive_weight", [1.0, 2.5])
def test_binary_cross_entropy_agrees_with_pytorch(positive_weight):
    check_operation(
        lambda **a: ops.binary_cross_entropy(**a, positive_weight=positive_weight),
        lambda grad, **a: ops.binary_cross_entropy_backward(grad, **a, positive_weight=positive_weight),
        lambda logits, target: F.binary_cross_entropy_with_logits(
            logits, target, pos_weight=torch.tensor(positive_weight)
        ),
        {"logits": normal(4, 3) * 5, "target": probabilities(normal(4, 3, seed=1))},
        constant=("target",),
    )


def test_losses_on_huge_logits_stay_finite():
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    assert ops.cross_entropy(z, np.array([1, 1])) == 1e4
    assert np.isfinite(ops.cross_entropy_backward(1, z, np.array([1, 1])).logits).all()
    assert ops.binary_cross_entropy(z, np.array([[0, 0], [1, 1]])) == 5e3
    assert np.isfinite(ops.log_cosh(z, -z))


def test_penalties_and_their_gradients():
    w = np.array([[1.0, -2], [0, 3]])
    assert ops.l1_penalty(w, strength=0.5) == 3
    assert ops.l1_penalty_backward(2, w, strength=0.5).w.tolist() == [[1, -1], [0, 1]]
    assert ops.l2_penalty(w, strength=0.5) == 7
    assert ops.l2_penalty_backward(2, w, strength=0.5).w.tolist() == [[2, -4], [0, 6]]
    assert ops.l2_penalty_backward(1, w.astype(np.float32)).w.dtype == np.float32


def test_losses_convert_integers_and_keep_float32():
    assert ops.mse([1, 2], [2, 2]) == 0.5
    assert ops.mae(np.float32([1, 2]), np.array([2, 2])).dtype == np.float32
    assert ops.mse_backward(1, np.float32([1, 2]), np.array([2, 2])).prediction.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.mse(np.ones(2), np.ones(3)), r"target: shape \(3,\), expected \(2,\)"),
        (lambda: ops.mse(np.ones(2), np.ones(2), reduction="max"), "reduction: 'max'"),
        (lambda: ops.cross_entropy(np.ones((2, 3)), np.array([0, 3])), "target: labels 0 to 3, expected 0 to 2"),
        (lambda: ops.cross_entropy(np.ones((2, 3)), np.array([0, -1])), "target: labels -1 to 0"),
        (lambda: ops.cross_entropy(np.ones((2, 3)), np.array([0.5, 1])), "target: shape"),
        (lambda: ops.cross_entropy(np.ones((2, 3)), np.array([0, 1, 1])), "target: shape"),
        (lambda: ops.cross_entropy(np.ones(3), 1), "logits: shape"),
        (lambda: ops.cross_entropy(np.ones((2, 3)), np.array([0, 1]), smoothing=2), "smoothing: 2"),
        (lambda: ops.cross_entropy(np.ones((2, 3)), np.array([0, 1]), weight=np.ones(2)), "weight: shape"),
        (lambda: ops.binary_cross_entropy(np.ones(2), np.ones(3)), "target: shape"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
