"""The twin that is trained in a network's place: the same function of the same parameters."""

import copy
import dataclasses
import threading

import pytest
import torch
from torch import nn

from convlens import models
from convlens.training.arrangement import arranged
from convlens.training.settings import Numeric

CPU = Numeric(device="cpu", dtype="float32", channels_last=True, threads=1)


def _three() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding="same"), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 10, 3, stride=2, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2, 1),
        nn.Conv2d(10, 13, 3, padding=1), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(4),
    )  # fmt: skip


NETWORKS = {
    "lenet5": lambda: models.create("lenet5"),
    "lenet5 with batch norm": lambda: models.create("lenet5", norm=True),
    "three convolutions in a row": _three,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_twin_gives_the_same_outputs_and_gradients(name):
    torch.manual_seed(0)
    module = NETWORKS[name]().train()
    x = torch.randn(5, 1, 28, 28)
    module(x)
    alone = copy.deepcopy(module)
    twin = arranged(module, CPU)
    assert twin is not module
    expected, found = alone(x), twin(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    for (which, ours), theirs in zip(module.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=which)
    for ours, theirs in zip(module.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_twin_has_the_networks_own_parameters_and_leaves_its_layers_alone():
    module = models.create("lenet5")
    before = [type(part) for part in module.modules()]
    twin = arranged(module, CPU)
    assert {id(p) for p in twin.parameters()} == {id(p) for p in module.parameters()}
    assert [type(part) for part in module.modules()] == before
    kinds = [type(part).__name__ for part in twin.features]
    assert kinds == ["_Widened", "MaxPool2d", "ReLU", "_Widened", "MaxPool2d", "ReLU"]
    assert twin.features[0](torch.zeros(1, 1, 28, 28)).shape[1] == 8


def test_nothing_is_done_where_it_would_not_help():
    for network in ("sprint", "resnet18_cifar"):
        module = models.create(network)
        assert arranged(module, CPU) is module
    module = models.create("lenet5")
    assert arranged(module, dataclasses.replace(CPU, device="cuda")) is module
    assert arranged(module, dataclasses.replace(CPU, channels_last=False)) is module


@pytest.mark.parametrize(
    "between",
    [
        [nn.BatchNorm2d(6), nn.AvgPool2d(2)],
        [nn.Dropout(), nn.AvgPool2d(2)],
        [nn.ReLU()],
        [nn.AvgPool2d(2), nn.Softmax(1)],
    ],
    ids=["batch norm", "dropout", "no pooling", "softmax over the channels"],
)
def test_channels_are_not_added_where_a_layer_tells_them_apart_or_pooling_is_missing(between):
    module = nn.Sequential(nn.Conv2d(1, 6, 3), *between, nn.Conv2d(6, 8, 3))
    assert arranged(module, CPU) is module


def test_a_module_that_cannot_be_copied_is_trained_as_it_is():
    module = models.create("lenet5")
    module.lock = threading.Lock()
    assert arranged(module, CPU) is module
