"""Both engines agree on every network of the zoo, and a wrong operation would be found."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from convlens import models, ops
from convlens.base.errors import InputError
from convlens.cli import app
from convlens.inspection.verify import relative_difference, verify
from convlens.scratch import operations

# A small network of a family, where it takes a second or two; all others are tested by `make test-slow`.
FAST = {
    "lenet5",
    "mlp",
    "resnet20_cifar",
    "nin_cifar",
    "baseline_cbapd",
    "go_policy_small",
    "inception10",
    "dcgan64_discriminator",
}


def small_input(name):
    """The network's own input, or a smaller image where its geometry allows one: NumPy takes minutes for 224 pixels."""
    channels, *size = models.get(name).input
    if len(size) != 2 or max(size) <= 64:
        return (channels, *size)
    for side in (64, 80, 96, 128):
        try:
            with torch.device("meta"):
                models.create(name, image_size=side)
            return channels, side, side
        except InputError:
            continue
    return (channels, *size)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in models.names()]
)
def test_a_network_of_the_zoo_is_the_same_in_both_engines(name):
    torch.manual_seed(0)
    shape = small_input(name)
    size = (shape[1], shape[2]) if len(shape) == 3 else None
    found = verify(models.create(name, image_size=size), shape)
    assert found.agrees(1e-8), found
    assert found.nodes > 0


def test_the_fast_networks_exist_and_are_of_different_families():
    assert set(models.names()) >= FAST
    assert len({models.get(name).family for name in FAST}) == len(FAST)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5)
    )


def test_the_difference_is_relative_to_the_largest_value_of_the_tensor():
    b = np.array([0.0, -4.0])
    assert relative_difference(np.array([0.0, -3.0]), b) == 0.25
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0
    assert relative_difference(np.array([0, 1e-30]), np.zeros(2)) == 1
    assert relative_difference(np.array([np.nan, 0]), b) == np.inf
    assert relative_difference(np.zeros(3), b) == np.inf


def test_both_modes_are_compared_with_everything_that_comes_out(small):
    found = verify(small, (3, 8, 8))
    assert found.agrees(1e-12)
    assert set(found.modes) == {"training", "inference"}
    training = found.modes["training"]
    assert {"0", "3", "5", "output 0", "1.running_mean", "1.running_var"} <= set(training.forward)
    assert set(training.gradients) == {"input", *dict(small.named_parameters())}
    assert training.cancelled == ("0.bias",)
    assert found.modes["inference"].cancelled == ()
    assert found.nodes == 6


def test_the_module_is_not_changed(small):
    before = {k: v.clone() for k, v in small.state_dict().items()}
    verify(small.eval(), (3, 8, 8))
    assert not small.training
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in small.state_dict().items())
    assert all(p.grad is None for p in small.parameters())


def test_one_mode_can_be_asked_for(small):
    assert set(verify(small, (3, 8, 8), mode="inference").modes) == {"inference"}
    with pytest.raises(ValueError, match="mode: 'train'"):
        verify(small, (3, 8, 8), mode="train")


def test_a_wrong_forward_is_found_where_it_is(small, monkeypatch):
    wrong = operations.OPERATIONS["relu"]._replace(forward=lambda call: ops.relu(call.arrays[0]) + 1e-6)
    monkeypatch.setitem(operations.OPERATIONS, "relu", wrong)
    found = verify(small, (3, 8, 8))
    assert not found.agrees()
    errors = found.modes["inference"].forward
    assert errors["1"] < 1e-12
    assert errors["2"] > 1e-8


def test_a_relu_that_passes_every_gradient_is_found(small, monkeypatch):
    wrong = operations.OPERATIONS["relu"]._replace(backward=lambda call, grad: [grad])
    monkeypatch.setitem(operations.OPERATIONS, "relu", wrong)
    found = verify(small, (3, 8, 8), mode="inference")
    assert found.forward_max_error < 1e-12
    assert found.gradient_max_error > 0.1
    assert found.modes["inference"].gradients["5.weight"] < 1e-12


def test_a_weight_gradient_of_the_first_image_alone_is_found(small, monkeypatch):
    def first_image(call, grad):
        x, w, *_ = call.arrays
        return [*ops.conv2d_backward(grad[:1], x[:1], w)][: len(call.arrays)]

    monkeypatch.setitem(operations.OPERATIONS, "conv2d", operations.OPERATIONS["conv2d"]._replace(backward=first_image))
    found = verify(small, (3, 8, 8), mode="inference")
    assert found.modes["inference"].gradients["0.weight"] > 0.01


def test_the_command_prints_one_json_object_and_fails_where_the_engines_differ(monkeypatch):
    done = CliRunner().invoke(app, ["verify", "mlp", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["agrees"]
    assert found["forward_max_error"] < 1e-12
    assert found["gradient_max_error"] < 1e-12
    assert found["nodes"] > 3
    wrong = operations.OPERATIONS["linear"]._replace(forward=lambda call: ops.linear(*call.arrays) * 1.001)
    monkeypatch.setitem(operations.OPERATIONS, "linear", wrong)
    done = CliRunner().invoke(app, ["verify", "mlp"])
    assert done.exit_code == 1
    assert "the engines differ" in done.stdout
