"""`models.create` gives what the constructor gives: every weight, constant and buffer, under the same seed."""

from typing import Any

import pytest
import torch
from torch import nn

from convlens import models
from convlens.models import registry
from convlens.models.registry import Paper

SLOW = 2_000_000  # parameters
ENTRIES = [
    pytest.param(name, marks=pytest.mark.slow) if models.get(name).parameters > SLOW or name == "resnet1202_cifar"
    else name for name in models.names()
]  # fmt: skip


class Computed(nn.Module):
    """Constants of each kind that a constructor may compute."""

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten())
        self.head = nn.Linear(4 * (image_size[0] - 2) * (image_size[1] - 2), num_classes)
        self.register_buffer("mean", torch.full((1, in_channels, 1, 1), 0.5))
        self.register_buffer("angles", torch.arange(8.0).sin(), persistent=False)
        self.register_buffer("nothing", None)
        self.seven = nn.Parameter(torch.full((3,), 7.0))
        self.position = nn.Parameter(torch.empty(2, 5))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.noise = nn.Parameter(torch.randn(4), requires_grad=False)
        self.table = torch.linspace(0, 1, 6)  # neither parameter nor buffer
        nn.init.constant_(self.head.bias, -2.0)

    def forward(self, x):
        return self.head(self.body(x - self.mean))


@pytest.fixture
def entry(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    @registry.register(parameters=0, input=(3, 10, 10), paper=Paper("nobody", 2000, "none"))
    def computed(num_classes=2, in_channels=3, image_size=(10, 10)) -> Computed:
        return Computed(num_classes, in_channels, image_size)

    return models.get("computed")


def plainly(entry, **arguments) -> Any:
    size = {"image_size": entry.input[1:]} if "image_size" in entry.arguments and entry.input[1:] else {}
    return entry.build(**{"num_classes": entry.num_classes, "in_channels": entry.input[0], **size, **arguments})


def tensors(network):
    """All parameters and buffers by name, also those that are not saved."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def assert_same(made, expected):
    ours, theirs = tensors(made), tensors(expected)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
        assert ours[name].dtype == value.dtype, name
        assert ours[name].requires_grad == value.requires_grad, name


@pytest.mark.parametrize("size", [(10, 10), (8, 12), (16, 16)])
def test_constants_buffers_and_free_parameters_are_those_of_the_constructor(entry, size):
    torch.manual_seed(3)
    made: Any = models.create("computed", image_size=size)
    torch.manual_seed(3)
    expected = plainly(entry, image_size=size)
    assert_same(made, expected)
    assert torch.equal(made.mean, torch.full((1, 3, 1, 1), 0.5))
    assert torch.equal(made.seven, torch.full((3,), 7.0))
    assert torch.equal(made.table, expected.table)
    assert made.nothing is None
    assert made.head.bias.tolist() == [-2.0, -2.0]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_equals_its_plain_construction_under_the_same_seed(name):
    torch.manual_seed(5)
    made = models.create(name)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    assert_same(made, plainly(models.get(name)))
    assert torch.equal(torch.get_rng_state(), after)
