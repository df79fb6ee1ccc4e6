"""Weights start as the papers say: measured on layers large enough for their statistics."""

from math import sqrt
from typing import Any

import pytest
import torch
from torch import nn

from convlens import models
from convlens.models.init import SCHEMES, fan_in
from convlens.models.network import shapes_only


def layers():
    return [nn.Conv2d(48, 64, 3), nn.Conv2d(64, 128, 5, groups=4), nn.Linear(300, 200), nn.ConvTranspose2d(64, 32, 4)]


@pytest.mark.parametrize(("scheme", "deviation"), [
    ("he", lambda fan_in, fan_out: sqrt(2 / fan_in)),
    ("glorot", lambda fan_in, fan_out: sqrt(2 / (fan_in + fan_out))),
    ("lecun_1998", lambda fan_in, fan_out: 2.4 / fan_in / sqrt(3)),
    ("normal_0.01", lambda *_: 0.01),
    ("normal_0.02", lambda *_: 0.02),
    ("truncated_0.01", lambda *_: 0.01),
    ("pytorch", lambda fan_in, fan_out: 1 / sqrt(3 * fan_in)),
])  # fmt: skip
def test_each_scheme_draws_with_its_deviation(scheme, deviation):
    torch.manual_seed(0)
    fans = [(48 * 9, 64 * 9), (16 * 25, 128 * 25), (300, 200), (64 * 16, 32 * 16)]
    for layer, (fan_ins, fan_outs) in list(zip(layers(), fans, strict=True))[
        : 3 if scheme in ("glorot", "pytorch") else 4
    ]:
        SCHEMES[scheme](layer)
        assert fan_in(layer) == fan_ins
        assert layer.weight.std().item() == pytest.approx(deviation(fan_ins, fan_outs), rel=0.03)
        assert abs(layer.weight.mean().item()) < 0.05 * layer.weight.std().item()
        if scheme != "pytorch":
            assert layer.bias.abs().max() == 0


def test_resnet_draws_convolutions_by_their_fan_out():
    torch.manual_seed(0)
    network: Any = models.create("resnet18")
    assert network.conv1.weight.std().item() == pytest.approx(sqrt(2 / (64 * 49)), rel=0.03)
    assert network.fc.weight.abs().max().item() == pytest.approx(1 / sqrt(512), rel=0.01)


def test_published_alexnet_starts_the_biases_of_some_layers_at_one():
    network = models.create("alexnet_2012", image_size=67)
    assert [p.mean().item() for name, p in network.named_parameters() if name.endswith("bias")] == [
        0,
        1,
        0,
        1,
        1,
        1,
        1,
        0,
    ]


def test_dcgan_draws_the_scales_of_its_norms_around_one():
    torch.manual_seed(0)
    scale = models.create("dcgan64_generator").get_parameter("features.1.weight")
    assert scale.mean().item() == pytest.approx(1, abs=0.005)
    assert scale.std().item() == pytest.approx(0.02, rel=0.15)


def test_building_shapes_alone_neither_draws_nor_takes_memory():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with shapes_only():
        network = models.create("vgg16")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.is_meta for p in network.parameters())


def test_nothing_but_our_weights_moves_the_generator():
    """A network drawn after another equals itself drawn alone from the same state: no hidden draws."""
    torch.manual_seed(0)
    models.create("lenet5")
    state = torch.get_rng_state()
    first = models.create("lenet5").get_parameter("features.c1.weight").clone()
    torch.set_rng_state(state)
    assert torch.equal(models.create("lenet5").get_parameter("features.c1.weight"), first)


def test_the_librarys_input_transform_moves_pixels_to_minus_one_to_one():
    torch.manual_seed(0)
    plain = models.create("googlenet", num_classes=3).eval()
    moved = models.create("googlenet", num_classes=3, transform_input=True).eval()
    moved.load_state_dict(plain.state_dict())
    pixels = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        torch.testing.assert_close(moved((pixels - mean) / std), plain(pixels * 2 - 1))
