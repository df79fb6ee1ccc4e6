"""What NumPy alone learns on MNIST. No time is asserted here: see bench/scratch.py."""

from typing import Any

import pytest

from convlens import data, scratch
from convlens.base.schedules import cosine


@pytest.fixture(scope="module")
def mnist(real_data):
    preprocess = data.Preprocess(size=(28, 28), channels=1)
    parts = data.find("mnist", root=real_data).read(preprocess).parts
    normalize = preprocess.fitted(parts["train"].pixels).normalize
    return [(parts[name].pixels, parts[name].labels) for name in ("train", "test")], normalize


@pytest.mark.slow
def test_one_layer_of_32_kernels_reaches_90_percent_in_an_epoch(mnist):
    ((x, y), test), normalize = mnist
    network = scratch.image(1, 28, 28).conv2d(32, 5, padding="same", weights="glorot_uniform").tanh().dropout(0.2)
    graph = scratch.network(network.flatten().linear(10, weights="glorot_uniform"))
    scratch.fit(graph, x, y, epochs=1, batch_size=60, optimizer=scratch.SGD(0.01, momentum=0.9), prepare=normalize)
    assert scratch.evaluate(graph, *test, prepare=normalize)[1] >= 0.905


@pytest.mark.slow
def test_lenet5_reaches_98_and_a_half_percent_in_three_epochs(mnist):
    ((x, y), test), normalize = mnist
    glorot: dict[str, Any] = {"weights": "glorot_uniform"}
    network = scratch.image(1, 28, 28).conv2d(6, 5, padding=2, **glorot).tanh().avg_pool2d(2)
    network = network.conv2d(16, 5, **glorot).tanh().avg_pool2d(2).flatten()
    network = network.linear(120, **glorot).tanh().linear(84, **glorot).tanh().linear(10, **glorot)
    graph = scratch.network(network)
    optimizer = scratch.SGD(0.05, momentum=0.9)
    scratch.fit(graph, x, y, epochs=3, batch_size=64, optimizer=optimizer, schedule=cosine, prepare=normalize)
    assert scratch.evaluate(graph, *test, prepare=normalize)[1] >= 0.985
