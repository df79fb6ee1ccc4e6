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
    "smooth_l1": F.smooth_l1_loss,
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


@pytest.mark.parametrize("name", REFERENCES)
def test_without_reduction_each_loss_is_given_and_has_its_own_gradient(name):
    target, prediction = targets(name, (6, 5)), probabilities(normal(6, 5))
    loss, backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    each = loss(prediction, target, reduction="none")
    assert each.shape == ((6,) if name in ("categorical_hinge", "kl_divergence", "cosine") else (6, 5))
    assert_close(each.mean(), loss(prediction, target))
    grad = np.arange(each.size, dtype=float).reshape(each.shape)
    slopes = backward(np.ones_like(each), prediction, target, reduction="none").prediction
    by_row = grad if grad.ndim == 2 else grad[:, None]
    assert_close(backward(grad, prediction, target, reduction="none").prediction, slopes * by_row)
    with pytest.raises(ValueError, match="grad: shape"):
        backward(1, prediction, target, reduction="none")


@pytest.mark.parametrize("beta", [0, 0.5, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_smooth_l1_agrees_with_pytorch(beta, reduction):
    check_operation(
        lambda **a: ops.smooth_l1(**a, beta=beta, reduction=reduction),
        lambda grad, **a: ops.smooth_l1_backward(grad, **a, beta=beta, reduction=reduction),
        lambda prediction, target: F.smooth_l1_loss(prediction, target, beta=beta, reduction=reduction),
        {"prediction": distinct(4, 5) * 5, "target": np.zeros((4, 5))},
        constant=("target",),
    )


@pytest.mark.parametrize("ignore_index", [None, -100, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_labels_to_ignore_count_nowhere(ignore_index, weighted, reduction):
    logits = normal(5, 4, 3)
    target = np.random.default_rng(0).integers(0, 4, (5, 3))
    if ignore_index == -100:
        target[1:3, 1:] = -100
    weight = np.abs(normal(4, seed=1)) if weighted else None
    theirs = {"reduction": reduction, "ignore_index": -1 if ignore_index is None else ignore_index}

    def single(x):
        w = None if weight is None else weight.astype(np.asarray(x).dtype)
        return {"reduction": reduction, "ignore_index": ignore_index, "weight": w}

    def reference(function):
        w = None if weight is None else torch.tensor(weight)
        return lambda target, **z: function(*z.values(), target, weight=w, **theirs)

    for name, argument, function in [
        ("cross_entropy", "logits", F.cross_entropy),
        ("nll", "log_probabilities", F.nll_loss),
    ]:
        check_operation(
            lambda n=name, a=argument, **arrays: getattr(ops, n)(**arrays, **single(arrays[a])),
            lambda grad, n=name, a=argument, **arrays: getattr(ops, f"{n}_backward")(
                grad, **arrays, **single(arrays[a])
            ),
            reference(function),
            {argument: logits, "target": target},
        )


def test_where_every_label_is_ignored_the_mean_is_not_a_number():
    assert np.isnan(ops.cross_entropy(normal(2, 3), np.array([9, 9]), ignore_index=9))
    assert ops.cross_entropy(normal(2, 3), np.array([9, 9]), ignore_index=9, reduction="sum") == 0


def test_a_class_that_is_masked_out_does_not_spoil_the_loss_of_others():
    logits = np.array([[1.0, -np.inf, 2], [0, -np.inf, 0]])
    target = np.array([0, 2])
    tensor = torch.tensor(logits, requires_grad=True)
    expected = F.cross_entropy(tensor, torch.tensor(target))
    expected.backward()
    assert_close(ops.cross_entropy(logits, target), expected.detach())
    assert_close(ops.cross_entropy_backward(1, logits, target).logits, tensor.grad)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(7, 4), (2, 3, 4, 2)])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
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


@pytest.mark.parametrize("positive_weight", [1.0, 2.5, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize("weight", [1.0, [[1.0], [2.0], [0.0], [0.5]]])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy_agrees_with_pytorch(positive_weight, weight, reduction):
    settings = {"positive_weight": positive_weight, "weight": weight, "reduction": reduction}
    q, w = (torch.tensor(value, dtype=torch.float64) for value in (positive_weight, weight))
    check_operation(
        lambda **a: ops.binary_cross_entropy(**a, **settings),
        lambda grad, **a: ops.binary_cross_entropy_backward(grad, **a, **settings),
        lambda logits, target: F.binary_cross_entropy_with_logits(logits, target, w, None, None, reduction, q),
        {"logits": normal(4, 3) * 5, "target": probabilities(normal(4, 3, seed=1))},
        constant=("target",),
    )


def test_losses_of_nothing_are_those_of_pytorch():
    empty = np.zeros((0, 3), np.float32)
    for reduction, expected in [("mean", np.nan), ("sum", 0)]:
        losses = [
            ops.mse(empty, empty, reduction=reduction),
            ops.binary_cross_entropy(empty, empty, reduction=reduction),
        ]
        losses.append(ops.cross_entropy(empty, np.zeros(0, int), reduction=reduction))
        assert np.array_equal(losses, [expected] * 3, equal_nan=True)
    assert ops.mse_backward(1, empty, empty).prediction.shape == (0, 3)
    assert ops.cross_entropy_backward(1, empty, np.zeros(0, int)).logits.shape == (0, 3)


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
    assert ops.mae(np.array([1, 2], np.float32), np.array([2, 2])).dtype == np.float32
    assert ops.mse_backward(1, np.array([1, 2], np.float32), np.array([2, 2])).prediction.dtype == np.float32


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
        (
            lambda: ops.binary_cross_entropy(np.ones(2), np.ones(2), positive_weight=np.ones(3)),
            "positive_weight: shape",
        ),
        (lambda: ops.cross_entropy(np.ones((2, 3)), np.ones((2, 3)), ignore_index=1), "ignore_index: 1, expected None"),
        (lambda: ops.huber(np.ones(2), np.ones(2), delta=0), "delta: 0, expected a positive number"),
        (lambda: ops.cosine(1.0, 2.0), "prediction: shape"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()
