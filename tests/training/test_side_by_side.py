"""Both engines from the same weights over the same batches: after five steps they hold the same weights."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import convlens as cl
from convlens.data import Images, Preprocess, Splits
from convlens.data.loader import Loader
from convlens.models import create
from convlens.training import recipe as recipes
from convlens.training import settings
from convlens.training.numpy_engine import NumpyEngine
from convlens.training.torch_engine import TorchEngine

CLASSES = ("a", "b", "c", "d")


class Odd(nn.Module):
    """A frozen layer, one that is not used, one weight under two names, an auxiliary output."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Conv2d(1, 4, 3).requires_grad_(False)
        self.idle = nn.Linear(3, 3)
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight
        self.norm, self.mix = nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3)
        self.head, self.second = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.mix(torch.relu(self.norm(self.frozen(x))))).mean((2, 3))
        logits = self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))
        return (logits, self.second(x)) if self.training else logits


def networks(name: str) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    if name == "odd":
        return Odd(), 10
    return create(name, num_classes=4, in_channels=1, image_size=(28, 28)), 28


def both(name: str, changes: dict, steps: int = 5) -> tuple[TorchEngine, NumpyEngine]:
    """The engines after some steps of the same run. 41 images in batches of 8: one is left out."""
    module, side = networks(name)
    rng = np.random.default_rng(1)
    images = Images(rng.integers(0, 256, (41, side, side, 1), dtype=np.uint8), np.arange(41) % 4, CLASSES)
    preprocess = Preprocess((side, side), 1, mean=(0.5,), std=(0.3,))
    plain = {"batch_size": 8, "epochs": 1, "optimizer": {"lr": 0.02}, "augment": {"flip": False, "shift": 0}}
    recipe = recipes.parse(recipes.merged(plain, changes), "test")
    ours = NumpyEngine(copy.deepcopy(module), Splits(images, images, images), preprocess, recipe=recipe, seed=3)
    theirs = TorchEngine(
        module, Loader(images, preprocess, batch_size=8, seed=3, drop_last=True), None, classes=CLASSES, recipe=recipe,
        numeric=settings.settle("cpu", "float32"), seed=3,
    )  # fmt: skip
    assert ours.steps_per_epoch == theirs.steps_per_epoch == 5
    for engine in (ours, theirs):
        batches: Any = engine.batches(0, 0)
        for step, (x, y) in enumerate(batches):
            engine.step(x, y, epoch=0, step=step, factor=1 - step / 10)
    return theirs, ours


CASES = [
    ("lenet5", {}),
    ("lenet5_bn_tfbook", {"optimizer": {"weight_decay": 0.1, "bias_lr": 2.0}}),
    ("lenet5", {"optimizer": {"momentum": 0.0}, "label_smoothing": 0.2}),
    ("odd", {"optimizer": {"weight_decay": 0.1}}),
    ("odd", {"optimizer": {"name": "adamw", "lr": 0.001, "weight_decay": 0.5, "eps": 1e-3}}),
    ("lenet5", {"optimizer": {"name": "rmsprop", "lr": 1e-4, "eps": 1e-3, "alpha": 0.9}}),
    ("odd", {"optimizer": {"name": "rmsprop", "lr": 1e-4, "weight_decay": 0.5, "eps": 1e-2, "centered": True,
                           "bias_lr": 2.0, "momentum": 0.0}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_after_five_steps_the_weights_are_the_same(name, changes):
    theirs, ours = both(name, changes)
    found, expected = ours.weights(), theirs.weights()
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, atol=1e-5, rtol=1e-5, err_msg=key)
    assert ours.totals()["loss"] == pytest.approx(theirs.totals()["loss"], rel=1e-5)
    assert ours.totals()["seen"] == theirs.totals()["seen"] == 40
    start = {key: t.numpy() for key, t in networks(name)[0].state_dict().items()}
    moved = {key for key, array in expected.items() if not np.array_equal(array, start[key])}
    assert moved >= {key for key in start if not key.startswith(("frozen", "idle"))} - {"conv1.bias"}
    assert not {key for key in moved if key.startswith(("frozen", "idle"))}


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_an_odd_network_goes_through_a_whole_run(engine, tmp_path):
    rng = np.random.default_rng(1)
    images = (rng.integers(0, 256, (40, 10, 10), dtype=np.uint8), np.arange(40) % 4)
    run = cl.train(Odd(), images, engine=engine, epochs=2, size=10, out=tmp_path / "run", quiet=True)
    assert run.results["epochs"] == 2
