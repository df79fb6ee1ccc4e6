"""Activations: derivatives and shares of gradients, as automatic differentiation gives them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convlens import scratch
from convlens.base.seeds import generator
from convlens.studies.activations import BATCH, NAMES, STACKED, WIDTH, share_left, value_and_derivative


@pytest.mark.parametrize("name", NAMES)
def test_each_curve_and_its_derivative_are_those_of_automatic_differentiation(name):
    function = {"log_sigmoid": F.logsigmoid, "tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(name) or getattr(F, name)
    x = torch.linspace(-6, 6, 49, dtype=torch.float64, requires_grad=True)
    y = function(x)
    y.sum().backward()
    value, slope = value_and_derivative(name, x.detach().numpy())
    np.testing.assert_allclose(value, y.detach().numpy(), atol=1e-12)
    assert x.grad is not None
    np.testing.assert_allclose(slope, x.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", STACKED)
def test_the_share_of_the_gradient_is_that_of_automatic_differentiation(name):
    depth, seed = 5, 3
    value = scratch.image(WIDTH)
    for layer in range(1, depth + 1):
        value = getattr(value.linear(WIDTH, weights=STACKED[name], name=f"layer{layer}"), name)()
    drawn = scratch.network(value.linear(10, weights="glorot_normal", name="output"), seed=seed).parameters
    weights = {key: torch.tensor(w, dtype=torch.float64, requires_grad=True) for key, w in drawn.items()}
    rng = generator(seed, "study", "activations")
    x, labels = torch.tensor(rng.standard_normal((BATCH, WIDTH))), torch.tensor(rng.integers(0, 10, BATCH))
    bend = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(name) or getattr(F, name)
    for layer in range(1, depth + 1):
        x = bend(F.linear(x, weights[f"layer{layer}.weight"], weights[f"layer{layer}.bias"]))
    F.cross_entropy(F.linear(x, weights["output.weight"], weights["output.bias"]), labels).backward()
    first, last = (torch.as_tensor(weights[f"layer{layer}.weight"].grad).square().mean().sqrt() for layer in (1, depth))
    assert share_left(name, depth, seed) == pytest.approx(float(first / last), rel=1e-9)


def test_twenty_sigmoid_layers_leave_less_than_a_millionth(do):
    done = do("activations")
    shares = done.table("Gradient at the first layer, as a share of the last's")
    assert [row[0] for row in shares] == list(range(2, 21))
    assert shares[-1][1] == done.figure("left after 20 layers of sigmoid") < 1e-6
    assert done.record.verdict == "holds"
    low, high = done.figure("derivative of the sigmoid from −2 to 2")
    assert low == pytest.approx(np.exp(-2) / (1 + np.exp(-2)) ** 2)
    assert high == 0.25
