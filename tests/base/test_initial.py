"""The spread of starting weights against PyTorch's own initialisations, which both engines must match."""

from math import sqrt

import pytest
import torch
from torch import nn

from convlens.base import initial

LAYERS = [nn.Linear(300, 200), nn.Conv2d(48, 64, 3), nn.Conv2d(64, 128, (5, 3), groups=4), nn.Conv1d(7, 9, 2)]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_fans_and_spreads_are_those_of_pytorch(layer):
    fan_in, fan_out = initial.fans(layer.weight.shape)

    def bound(draw):
        """Of a uniform draw: how much larger it is than the same draw from -1 .. 1."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            drawn = draw(torch.empty(layer.weight.shape))
            torch.manual_seed(0)
            unit = torch.empty(layer.weight.shape).uniform_(-1, 1)
        return (drawn / unit).median().item()

    glorot = initial.uniform_bound(initial.glorot_deviation(fan_in, fan_out))
    assert bound(nn.init.xavier_uniform_) == pytest.approx(glorot, rel=1e-5)
    he = initial.uniform_bound(initial.he_deviation(fan_in))
    assert bound(lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu")) == pytest.approx(he, rel=1e-5)
    out = initial.uniform_bound(initial.he_deviation(fan_out))
    assert bound(lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu")) == pytest.approx(
        out, rel=1e-5
    )
    own = initial.pytorch_bound(fan_in)
    assert bound(lambda w: nn.init.kaiming_uniform_(w, a=sqrt(5))) == pytest.approx(own, rel=1e-5)
    assert own * 0.95 < layer.weight.abs().max().item() <= own * (1 + 1e-6)


def test_lenet_of_1998_starts_within_its_published_bound():
    assert initial.lecun_bound(25) == 0.096
