"""Starting points: identity filters and the whitened first layer."""

import pytest
import torch
from torch import nn

from convlens.nn.whitening import WhiteningConv2d
from convlens.training.initialization import begin_as_identity, identity_, whiten_first_layer


@pytest.mark.parametrize(("filters", "groups"), [(6, 1), (4, 1), (9, 1), (6, 2), (12, 3), (6, 6)])
def test_filters_match_pytorchs_dirac_and_the_rest_stay(filters, groups):
    convolution = nn.Conv2d(6, filters, 3, padding=1, groups=groups)
    before = convolution.weight.detach().clone()
    identity_(convolution)
    dirac = nn.init.dirac_(torch.empty_like(before), groups=groups)
    handed_on = dirac.flatten(1).any(1)
    assert torch.equal(convolution.weight[handed_on], dirac[handed_on])
    assert torch.equal(convolution.weight[~handed_on], before[~handed_on])


def test_a_network_begins_as_the_identity():
    layers = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding="same", bias=False) for _ in range(5)])
    assert begin_as_identity(layers) == 5
    x = torch.randn(2, 4, 7, 7)
    assert torch.equal(layers(x), x)


def test_frozen_and_pointwise_convolutions_are_left_alone():
    frozen, pointwise = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 1)
    frozen.weight.requires_grad_(False)
    before = [frozen.weight.clone(), pointwise.weight.detach().clone()]
    assert begin_as_identity(nn.Sequential(frozen, pointwise, nn.Linear(3, 3))) == 0
    assert torch.equal(frozen.weight, before[0])
    assert torch.equal(pointwise.weight, before[1])


def test_the_whitening_layer_of_a_network_is_found_and_fitted():
    images = torch.rand(20, 1, 8, 8)
    layer = WhiteningConv2d(1, 2)
    assert whiten_first_layer(nn.Sequential(nn.Identity(), layer), images)
    alone = WhiteningConv2d(1, 2)
    alone.fit(images)
    assert torch.equal(layer.weight, alone.weight)
    assert not whiten_first_layer(nn.Linear(2, 2), images)
