"""Optimizers walk the same path as PyTorch's."""

import numpy as np
import pytest
import torch

from convlens.scratch import SGD, Adam, optimizers
from convlens.scratch.optimizers import RMSprop

CASES = [
    (lambda: SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    (lambda: SGD(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    (
        lambda: SGD(0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    ),
    (lambda: Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    (
        lambda: Adam(0.01, betas=(0.8, 0.95), weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.95), weight_decay=0.1),
    ),
    (
        lambda: Adam(0.01, weight_decay=0.1, decoupled=True),
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    ),
    (lambda: RMSprop(0.01), lambda p: torch.optim.RMSprop(p, 0.01)),
    (
        lambda: RMSprop(0.01, alpha=0.9, eps=1e-4, momentum=0.8, centered=True, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, 0.01, 0.9, 1e-4, momentum=0.8, centered=True, weight_decay=0.1),
    ),
]


NAMES = ["sgd", "momentum", "nesterov", "adam", "adam-l2", "adamw", "rmsprop", "rmsprop-all"]


@pytest.mark.parametrize(("ours", "theirs"), CASES, ids=NAMES)
def test_ten_steps_end_where_pytorch_ends(ours, theirs):
    rng = np.random.default_rng(0)
    parameters = {"w": rng.standard_normal((3, 4)), "b": rng.standard_normal(3)}
    tensors = {k: torch.tensor(a, requires_grad=True) for k, a in parameters.items()}
    optimizer, reference = ours(), theirs(list(tensors.values()))
    for _ in range(10):
        gradients = {k: rng.standard_normal(a.shape) for k, a in parameters.items()}
        kept = {k: g.copy() for k, g in gradients.items()}
        for k, t in tensors.items():
            t.grad = torch.tensor(gradients[k])
        optimizer.step(parameters, gradients)
        reference.step()
        assert all(np.array_equal(gradients[k], kept[k]) for k in kept)
    for k, t in tensors.items():
        np.testing.assert_allclose(parameters[k], t.detach().numpy(), rtol=1e-12)


def test_float32_parameters_stay_float32():
    made = SGD(0.1, momentum=0.9, weight_decay=0.1), Adam(weight_decay=0.1), RMSprop(centered=True, momentum=0.9)
    for optimizer in made:
        p = {"w": np.ones(3, np.float32)}
        same = p["w"]
        optimizer.step(p, {"w": np.ones(3, np.float32)})
        assert p["w"] is same
        assert same.dtype == np.float32


def test_optimizers_have_names():
    assert isinstance(optimizers.create("nesterov", 0.1), SGD)
    adamw = optimizers.create("adamw", 0.1)
    assert isinstance(adamw, Adam)
    assert adamw.decoupled
    assert isinstance(optimizers.create("rmsprop", 0.1), RMSprop)
    with pytest.raises(ValueError, match="unknown optimizer 'sgdm'"):
        optimizers.create("sgdm", 0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGD(-1), "lr: -1"),
        (lambda: SGD(float("nan")), "lr: nan"),
        (lambda: SGD(0.1, nesterov=True), "nesterov"),
        (lambda: Adam(betas=(0.9, 1.0)), "betas"),
        (lambda: RMSprop(alpha=1.0), "alpha"),
    ],
)
def test_impossible_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_rmsprop_goes_on_from_its_state():
    rng = np.random.default_rng(0)
    whole, parts = {"w": np.ones(4)}, {"w": np.ones(4)}
    gradients = [{"w": rng.standard_normal(4)} for _ in range(6)]
    first, second = RMSprop(centered=True, momentum=0.5), RMSprop(centered=True, momentum=0.5)
    without_a_break = RMSprop(centered=True, momentum=0.5)
    for number, g in enumerate(gradients):
        without_a_break.step(whole, g)
        if number == 3:
            second.load_state(first.state())
        (first if number < 3 else second).step(parts, g)
    assert np.array_equal(whole["w"], parts["w"])
