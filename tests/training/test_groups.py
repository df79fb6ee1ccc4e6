"""Weights, biases and output layers are found by the modules that hold them, in any order of registration."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

import convlens as cl
from convlens import models
from convlens.training import groups, numpy_engine, optimizers
from convlens.training.recipe import Optimizer, Recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from foreign import NETWORKS

MUON = Optimizer(name="muon", lr=0.1, weight_decay=0.1)


class HeadFirst(nn.Module):
    """Everything registered backwards."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.head, self.norm = nn.Linear(8, 3), nn.LayerNorm([8, 6, 6])
        self.conv2, self.conv1 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(1, 8, 3)

    def forward(self, x):
        x = self.norm(F.relu(self.conv1(x))) * self.scale
        return self.head(self.conv2(x).mean((2, 3)) + self.token[:, 0])


def names(module, tensors):
    known = {id(p): name for name, p in module.named_parameters()}
    return [known[id(t)] for t in tensors]


def by_kind(module, settings, outputs=()):
    """Names in the optimizers: (of SGD or Adam with decay, without, of Muon)."""
    made = optimizers.build(module, settings, outputs)
    plain = made[0].param_groups
    decayed = [name for g in plain if g["weight_decay"] for name in names(module, g["params"])]
    others = [name for g in plain if not g["weight_decay"] for name in names(module, g["params"])]
    muon = [name for o in made[1:] for g in o.param_groups for name in names(module, g["params"])]
    every = decayed + others + muon
    assert sorted(every) == sorted(groups.trainable(module))  # each once, none left out
    return decayed, others, muon


def test_a_head_that_was_registered_first_is_the_head():
    module = HeadFirst()
    outputs = groups.output_weights(module, torch.randn(2, 1, 8, 8), 3)
    assert outputs == {"head.weight"}
    head, others, hidden = by_kind(module, MUON, outputs)
    assert head == ["head.weight"]
    assert hidden == ["conv2.weight", "conv1.weight"]
    assert set(others) == {
        "scale", "token", "head.bias", "norm.weight", "norm.bias", "conv2.bias", "conv1.bias",
    }  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_norms_biases_and_free_vectors_of_any_shape_are_not_decayed(optimizer):
    decayed, others, _ = by_kind(HeadFirst(), Optimizer(name=optimizer, weight_decay=0.1, bias_lr=4.0))
    assert decayed == ["head.weight", "conv2.weight", "conv1.weight"]
    assert len(others) == 7


HEADS = {
    "plain": {"fc2.weight"}, "MobileNetV2": {"classifier.1.weight"}, "SE-ResNet": {"fc.weight"},
    "U-Net": {"head.weight"}, "cosine head": {"weight"}, "patch transformer": {"head.weight"},
    "attention by hand": {"fc.weight"}, "squeeze": {"head.weight"}, "dict output": {"fc.weight"},
    "auxiliary heads": {"fc.weight", "aux.weight"}, "tied weights": {"fc.weight"},
    "spectral norm": {"5.parametrizations.weight.original"}, "loop": {"out.weight"},
    "weight norm": {"3.parametrizations.weight.original1"}, "stem alone": {"0.weight"},
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_the_output_layer_of_networks_of_public_shapes_is_found(name):
    module = NETWORKS[name]()
    assert groups.output_weights(module, torch.randn(2, 1, 16, 16), 2) == HEADS[name]


@pytest.mark.parametrize("name", ["lenet5", "googlenet_aux", "sprint", "squeezenet", "resnet18", "mobilenet_v1"])
def test_output_layers_of_the_zoo_are_those_that_the_network_names(name):
    module: Any = models.create(name, num_classes=3)
    found = groups.output_weights(module, torch.zeros(0), 3)
    assert found == {f"{path}.weight" for path in module.output_layers}


def test_tied_weights_are_trained_once_and_stepped_once():
    module = NETWORKS["tied weights"]()
    for settings in (MUON, Optimizer(name="sgd"), Optimizer(name="adamw")):
        assert not any("b.weight" in kind for kind in by_kind(module, settings))
    before = module.a.weight.detach().clone()
    (made,) = optimizers.build(module, Optimizer(name="sgd", lr=0.5, momentum=0.0, weight_decay=0.0))
    module.a.weight.grad = torch.ones_like(before)
    made.step()
    torch.testing.assert_close(module.a.weight, before - 0.5)
    assert module.b.weight is module.a.weight


def test_a_tied_output_layer_is_no_hidden_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.body = nn.Linear(4, 3, bias=False), nn.Linear(3, 3)

        def forward(self, x):
            x = self.body(self.enter(x.flatten(1)))
            return F.linear(F.linear(x, self.enter.weight.t()), self.enter.weight)

    module = Tied()
    assert groups.output_weights(module, torch.randn(2, 1, 2, 2), 3) == {"enter.weight"}


def test_embeddings_and_rows_alone_are_not_made_orthogonal():
    module = nn.ModuleDict({
        "table": nn.Embedding(5, 4), "row": nn.Linear(4, 1), "column": nn.Linear(1, 4), "square": nn.Linear(4, 4),
        "normed": parametrizations.weight_norm(nn.Linear(4, 4)),
    })  # fmt: skip
    module.position = nn.Parameter(torch.zeros(1, 7, 4))
    _, others, hidden = by_kind(module, MUON)
    assert hidden == ["square.weight", "normed.parametrizations.weight.original1"]
    assert "normed.parametrizations.weight.original0" in others


def test_frozen_parameters_are_in_no_group():
    module = HeadFirst()
    module.conv1.requires_grad_(False)
    assert not [name for kind in by_kind(module, MUON) for name in kind if name.startswith("conv1")]


def test_both_engines_spare_the_same_parameters():
    module = HeadFirst()
    vectors = groups.trainable(module).keys() - groups.weights(module).keys()
    settings = Optimizer(name="sgd", lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.5, bias_lr=4.0)
    by_hand = numpy_engine.optimizer_of(Recipe(optimizer=settings), vectors)
    arrays = {name: p.detach().numpy().copy() for name, p in module.named_parameters()}
    gradients = {name: np.ones_like(a) for name, a in arrays.items()}
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    (theirs,) = optimizers.build(module, settings)
    theirs.step()
    by_hand.step(arrays, gradients)
    for name, p in module.named_parameters():
        np.testing.assert_allclose(arrays[name], p.detach().numpy(), atol=1e-6, err_msg=name)


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_a_frozen_layer_stays_as_it_is_in_both_engines(tmp_path, engine):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    module[0].requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    labels = np.arange(8) % 2
    pixels = (np.ones((8, 8, 8)) * labels[:, None, None] * 200).astype(np.uint8)
    run = cl.train(
        module, {"train": (pixels, labels), "test": (pixels, labels)}, epochs=1, out=tmp_path / "run", quiet=True,
        device="cpu", size=8, engine=engine, recipe={"val_fraction": 0.0, "batch_size": 4},
    )  # fmt: skip
    after = run.module.state_dict()
    for name in before:
        assert torch.equal(after[name], before[name]) == name.startswith("0."), name


class Centered(nn.Sequential):
    """Its mean is a buffer that is not saved."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(196, 2))
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 0.5), persistent=False)

    def forward(self, x):
        return super().forward(x - self.mean)


@pytest.mark.parametrize(
    "make", [NETWORKS["tied weights"], NETWORKS["auxiliary heads"], Centered], ids=["tied", "auxiliary", "buffer"]
)
def test_the_numpy_engine_gives_every_weight_of_the_module_back(tmp_path, make):
    """Names of tied weights, of layers that evaluation leaves out, and of buffers that are not saved."""
    torch.manual_seed(0)
    module = make()
    labels = np.arange(8) % 2
    pixels = (np.ones((8, 16, 16)) * labels[:, None, None] * 200).astype(np.uint8)
    test = (pixels + 1, labels)
    run = cl.train(
        module, {"train": (pixels, labels), "test": test}, epochs=1, out=tmp_path / "run", quiet=True,
        device="cpu", size=16, engine="numpy", recipe={"val_fraction": 0.0, "batch_size": 4},
    )  # fmt: skip
    assert run.evaluate(test).loss == pytest.approx(run.results["test"]["loss"], rel=1e-4)
