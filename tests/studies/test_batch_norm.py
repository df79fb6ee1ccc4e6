"""Batch normalisation: the same steps in PyTorch, in training and in inference mode."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.base.seeds import generator
from convlens.studies.batch_norm import BATCH, EPS, build, train

SIDE, STEPS, RATE, SEED = 8, 6, 0.05, 2


def data():
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (200, 1, SIDE, SIDE)).astype(np.float32), rng.integers(0, 10, 200)


def in_pytorch(mode, momentum):
    """Losses of the steps, and the network, with the weights that the graph begins with."""
    layers: list[nn.Module] = []
    before = 1
    for layer, channels in enumerate((8, 8, 16, 16), start=1):
        layers.append(nn.Conv2d(before, channels, 3, padding=1))
        layers += [] if mode == "none" else [nn.BatchNorm2d(channels, EPS, 1 - momentum)]
        layers += [nn.ReLU()] if layer % 2 else [nn.ReLU(), nn.MaxPool2d(2)]
        before = channels
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 4, 64), nn.ReLU(), nn.Linear(64, 10))
    drawn = iter(build(mode != "none", SIDE, SEED, momentum).parameters.values())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.from_numpy(next(drawn)))
    network.train(mode == "batch")
    pixels, labels = data()
    losses = []
    for step in range(STEPS):
        batch = generator(SEED, "study", "batch-norm", step).integers(0, len(pixels), BATCH)
        loss = F.cross_entropy(network(torch.from_numpy(pixels[batch])), torch.from_numpy(labels[batch]))
        network.zero_grad()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= RATE * parameter.grad  # type: ignore[operator]
    return losses, network.eval()


@pytest.mark.parametrize(("mode", "momentum"), [("batch", 0.99), ("batch", 0.0), ("text", 0.99), ("none", 0.99)])
def test_the_steps_are_those_of_pytorch_in_the_mode_that_is_meant(mode, momentum):
    losses, network = in_pytorch(mode, momentum)
    found = train(mode, RATE, STEPS, *data(), SEED, momentum)
    assert found.losses == pytest.approx(losses, rel=1e-4)
    kept = dict(zip(found.network.buffers, [b for n, b in network.named_buffers() if "num" not in n], strict=True))
    for name, buffer in kept.items():
        np.testing.assert_allclose(found.network.buffers[name], buffer.numpy(), rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        right = (network(torch.from_numpy(data()[0])).argmax(1).numpy() == data()[1]).mean()
    assert found.accuracy(*data()) == pytest.approx(right, abs=0.011)


def test_what_diverges_is_said_and_not_judged():
    found = train("none", 1e6, STEPS, *data(), SEED)
    assert found.said == "diverged"
    assert np.isnan(found.accuracy(*data()))


def test_the_study_finds_that_the_texts_loop_costs_speed(do):
    done = do("batch-norm")
    assert done.record.verdict == "holds"
    rows = done.table("An array of [100, 32, 32, 3]")
    assert len(rows) == 3
    assert [row[3] for row in rows] == pytest.approx([0, 0, 0], abs=1e-10)
    running = done.figure("running mean after 500 batches")
    assert running["1"] == 0
    assert running["0.99"] == pytest.approx(5 * (1 - 0.99**500), abs=0.15)
