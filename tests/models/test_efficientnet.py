"""EfficientNet-Lite against what was published of it, counted without its code."""

import math
from typing import Any

import pytest
import torch

from convlens import models
from convlens.models.network import count_parameters

# repeats, kernel, expansion and maps of the stages, as the reference implementation writes them
ARGUMENTS = (
    "r1_k3_e1_o16", "r2_k3_e6_o24", "r2_k5_e6_o40", "r3_k3_e6_o80", "r3_k5_e6_o112", "r4_k5_e6_o192", "r1_k3_e6_o320",
)  # fmt: skip
FORMS = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}


def lite0() -> Any:
    return models.create("efficientnet_lite0")


def counted(width, depth):
    """Parameters by hand: weights of bias-free convolutions, two numbers a map of each norm, one dense layer."""
    total, before = 3 * 9 * 32 + 2 * 32, 32
    for index, text in enumerate(ARGUMENTS):
        repeats, kernel, expansion, out = (int(part[1:]) for part in text.split("_"))
        near = int(out * width + 4) // 8 * 8
        after = near + 8 if near < 0.9 * out * width else near
        for _ in range(repeats if index in (0, 6) else math.ceil(repeats * depth)):
            inner = before * expansion
            total += before * inner + 2 * inner if expansion > 1 else 0
            total += kernel * kernel * inner + 2 * inner + inner * after + 2 * after
            before = after
    return total + before * 1280 + 2 * 1280 + 1281 * 1000


@pytest.mark.parametrize("name", FORMS)
def test_the_parameters_are_those_that_were_published(name):
    assert models.get(name).parameters == counted(*FORMS[name])
    with torch.device("meta"):
        assert count_parameters(models.create(name)) == counted(*FORMS[name])


def test_lite0_has_the_published_count():
    assert models.get("efficientnet_lite0").parameters == 4_652_008


def test_a_strided_convolution_pads_as_tensorflow_does():
    """Of an even size nothing before and one cell after: the first output sees the pixels 0 to 2."""
    stem: Any = lite0().features[0][0]
    with torch.no_grad():
        stem.weight.zero_()
        stem.weight[0, 0, 0, 0] = 1.0  # copies the upper left pixel of each window
        image = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(1, 3, 1, 1)
        torch.testing.assert_close(stem(image)[0, 0], image[0, 0, ::2, ::2])


def test_there_is_no_squeeze_and_excitation_and_the_activations_are_relu6():
    kinds = {type(layer).__name__ for layer in lite0().modules()}
    assert "ReLU6" in kinds
    assert not kinds & {"Sigmoid", "SiLU", "ReLU"}


def test_two_blocks_of_one_shape_add_their_input():
    adding = [block.adds for block in lite0().features[1:-1]]
    assert adding == [
        False,
        False,
        True,
        False,
        True,
        False,
        True,
        True,
        False,
        True,
        True,
        False,
        True,
        True,
        True,
        False,
    ]
