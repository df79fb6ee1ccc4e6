"""What `verify` forgives is rounding alone: each fault in what it judges leniently is found."""

import numpy as np
import pytest
import torch
from torch import nn

from convlens.inspection.verify import relative_difference, verify
from convlens.scratch import operations
from convlens.scratch.chance import CHANCE
from convlens.scratch.operation import Mode


def normalized_twice(scale=1.0):
    """Convolutions without bias between normalizations: the second mean is zero but for rounding."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6),
        nn.Conv2d(6, 2, 3), nn.BatchNorm2d(2),
    )  # fmt: skip
    with torch.no_grad():
        net.get_parameter("2.weight").mul_(scale)
    return net


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_mean_that_is_zero_but_for_rounding_agrees(scale):
    found = verify(normalized_twice(scale), (3, 6, 6), mode="training")
    assert found.agrees(1e-10), found


def with_other_updates(change):
    """Batch normalization whose running mean and variance are written otherwise."""
    right = operations.OPERATIONS["batch_norm"]

    def forward(call):
        y = right.forward(call)
        if 3 in call.updates:
            call.updates |= change(call)
        return y

    return right._replace(forward=forward)


WRONG = {
    "the old mean kept": lambda call: {3: call.arrays[3]},
    "another momentum": lambda call: {3: call.updates[3] * 0.9},
    "the mean of the first image": lambda call: {3: 0.1 * call.arrays[0][0].mean(axis=(1, 2))},
    "a mean that is off by a millionth of the deviation": lambda call: {
        3: call.updates[3] + 1e-6 * np.sqrt(call.saved.var)
    },
    "a variance without Bessel's correction": lambda call: {
        4: 0.9 * call.arrays[4] + 0.1 * call.arrays[0].var(axis=(0, 2, 3))
    },
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_running_statistics_are_found(fault, monkeypatch):
    monkeypatch.setitem(operations.OPERATIONS, "batch_norm", with_other_updates(WRONG[fault]))
    found = verify(normalized_twice(), (3, 6, 6), mode="training")
    assert not found.agrees(1e-8), found
    assert "running_" in found.forward_worst


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 12)

    def forward(self, x):
        return nn.functional.hardsigmoid(self.fc(x) * 3) + nn.functional.hardswish(x)


def test_the_derivative_of_the_hard_sigmoid_agrees_to_the_last_digit():
    torch.manual_seed(0)
    assert verify(Gate(), (12,)).agrees(1e-12)


@pytest.mark.parametrize("slope", [0.1667, 0.2, 1 / 6 + 1e-7])
def test_another_sixth_in_the_hard_sigmoid_is_found(slope, monkeypatch):
    right = operations.OPERATIONS["hardsigmoid"]

    def backward(call, grad):
        call.options = {"slope": slope}
        return right.backward(call, grad)

    monkeypatch.setitem(operations.OPERATIONS, "hardsigmoid", right._replace(backward=backward))
    torch.manual_seed(0)
    found = verify(Gate(), (12,))
    assert found.forward_max_error < 1e-12
    assert not found.agrees(1e-8)


DROPOUTS = {
    "layer": lambda: nn.Dropout(0.3),
    "layer in place": lambda: nn.Dropout(0.3, inplace=True),
    "channels": lambda: nn.Dropout2d(0.4),
    "channels in place": lambda: nn.Dropout2d(0.4, inplace=True),
    "volumes": lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Dropout3d(0.5), nn.Flatten(1, 2)),
    "alpha": lambda: nn.AlphaDropout(0.2),
    "alpha in place": lambda: nn.AlphaDropout(0.2, inplace=True),
    "alpha on channels": lambda: nn.FeatureAlphaDropout(0.4),
    "everything": lambda: nn.Dropout(1.0),
    "nothing": lambda: nn.Dropout(0.0),
    "function": lambda: Applied(lambda x: torch.dropout(x, 0.3, True)),
    "function in place": lambda: Applied(lambda x: torch.dropout_(x * 1, 0.3, True)),
    "function on channels": lambda: Applied(lambda x: torch.feature_dropout(x, 0.3, True)),
    "function alpha": lambda: Applied(lambda x: torch.alpha_dropout(x, 0.3, True)),
    "drop path": lambda: Applied(lambda x: x / 0.8 * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(0.8)),
    "old drop path": lambda: Applied(lambda x: x * (0.8 + torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype)).floor_()),
    "one coin for all": lambda: Applied(lambda x: x * torch.rand(()) + torch.bernoulli(torch.tensor(0.4))),
    "noise": lambda: Applied(lambda x: x + torch.rand_like(x)),
    "by probabilities": lambda: Applied(lambda x: x * torch.bernoulli(torch.full_like(x, 0.7))),
}


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def around(kind):
    """Two of a kind, with others between: the order of the draws matters."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 1), DROPOUTS[kind](), nn.Dropout(0.5), DROPOUTS[kind](), nn.Conv2d(6, 2, 1))


@pytest.mark.parametrize("kind", DROPOUTS)
def test_every_kind_of_dropout_draws_the_same_in_both_engines(kind):
    found = verify(around(kind), (3, 5, 5))
    assert found.agrees(1e-12), found


@pytest.mark.parametrize("kind", ["layer in place", "channels", "alpha", "drop path"])
def test_swapped_masks_are_found(kind, monkeypatch):
    right = Mode.mask
    monkeypatch.setattr(Mode, "mask", lambda self, which, shape, rate: right(self, which, shape, rate))
    module = around(kind)
    op = {"alpha": "alpha_dropout", "drop path": "bernoulli"}.get(kind, "dropout")

    def swapped(call):
        call.options = {**call.options, "which": 2 - call.options["which"]}
        return CHANCE[op].forward(call)

    monkeypatch.setitem(operations.OPERATIONS, op, CHANCE[op]._replace(forward=swapped))
    assert not verify(module, (3, 5, 5), mode="training").agrees(1e-3)


@pytest.mark.parametrize("kind", [kind for kind in DROPOUTS if "function" not in kind])
def test_dropout_layers_leave_everything_alone_in_inference(kind):
    if kind in ("drop path", "old drop path", "one coin for all", "noise", "by probabilities"):
        return
    module = nn.Sequential(DROPOUTS[kind](), nn.Conv2d(6, 6, 1)).eval()
    found = verify(module, (6, 4, 4), mode="inference")
    assert found.agrees(1e-12)
    assert found.nodes <= 3


def test_each_element_is_judged_by_the_scale_given_for_it():
    a, b = np.array([1e-9, 1.0]), np.array([0.0, 1.0 + 1e-9])
    assert relative_difference(a, b) == pytest.approx(1e-9)
    assert relative_difference(np.array([1e-9, 0]), np.zeros(2), np.array([1e-3, 5.0])) == pytest.approx(1e-6)
    assert relative_difference(np.array([0, 1e-9]), np.zeros(2), np.array([1.0, 0.0])) == 1
