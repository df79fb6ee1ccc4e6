"""Units that never fire, planted in networks written in different ways; and nothing stays changed."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlens.inspection.dead import Rectifier, dead_units
from typed import present


class _Modules(nn.Module):
    def __init__(self, inplace: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=inplace)
        self.fc, self.act2, self.out = nn.Linear(4, 6), nn.ReLU6(inplace=inplace), nn.Linear(6, 2)
        with torch.no_grad():
            present(self.conv.bias)[1::2] = -100
            self.fc.bias.fill_(1)
            self.fc.bias[2] = -100

    def forward(self, x):
        x = self.act(self.conv(x)).mean((2, 3))
        return self.out(self.act2(self.fc(x)))


class _Functions(_Modules):
    def forward(self, x):
        x = F.relu(self.conv(x)).mean((2, 3))
        return self.out(self.fc(x).clamp(min=0))


class _Shared(_Modules):
    def forward(self, x):
        return self.out(self.act(self.fc(self.act(self.conv(x)).mean((2, 3)))))


def _batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(5, 1, 8, 8, generator=generator) * 20 - 10 for _ in range(4)]


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (_Modules(), ["act", "act2"]),
        (_Modules(inplace=True), ["act", "act2"]),
        (_Functions(), ["relu", "clamp"]),
        (_Shared(), ["act", "act:2"]),
    ],
    ids=["modules", "in place", "functions", "shared"],
)
def test_planted_dead_units_are_counted_however_the_network_is_written(network, names):
    assert dead_units(network, _batches()) == [Rectifier(names[0], "conv", 4, 2), Rectifier(names[1], "fc", 6, 1)]


def test_a_unit_that_fires_for_one_image_of_all_is_alive():
    linear = nn.Linear(4, 2)
    network = nn.Sequential(nn.Flatten(), linear, nn.ReLU())
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[0, 0] = 1
        linear.bias.zero_()
    quiet, loud = torch.zeros(3, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    loud[0, 0, 0, 0] = 1
    assert dead_units(network, [quiet, quiet]) == [Rectifier("2", "1", 2, 2)]
    assert dead_units(network, [quiet, loud, quiet]) == [Rectifier("2", "1", 2, 1)]


def test_activations_without_an_exact_zero_are_no_rectifiers():
    assert (
        dead_units(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.LeakyReLU(), nn.GELU()), _batches())
        == []
    )


def test_the_network_is_as_before():
    network = _Modules().train()
    network.act.eval()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    dead_units(network, _batches())
    assert network.training
    assert not network.act.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
