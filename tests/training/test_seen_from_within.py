"""Training seen from within: figures by layer that PyTorch gives by hand, and a line for each planted fault."""

import json
import signal
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import convlens as cl
from convlens import data, models
from convlens.base.errors import Interrupted
from convlens.data import Images, Preprocess
from convlens.inspection.within import look
from convlens.training.events import Listener
from typed import untyped

NETWORKS = """
from torch import nn
from torch.nn import functional as F


class Dead(nn.Module):
    "A rectifier behind a bias that no picture overcomes."

    def __init__(self, in_channels=1, num_classes=10):
        super().__init__()
        self.conv, self.more, self.out = nn.Conv2d(in_channels, 8, 3), nn.Conv2d(8, 8, 3), nn.LazyLinear(num_classes)
        nn.init.constant_(self.conv.bias, -100.0)

    def forward(self, x):
        return self.out(F.relu(self.more(F.relu(self.conv(x)))).flatten(1))


def deep_sigmoids(in_channels=1, num_classes=10):
    layers = [nn.Flatten(), nn.LazyLinear(32)]
    for _ in range(20):
        layers += [nn.Sigmoid(), nn.Linear(32, 32)]
    return nn.Sequential(*layers, nn.Linear(32, num_classes))


class Unscaled(nn.Module):
    "Pixels up to 255, as they are before they are normalized."

    def __init__(self, in_channels=1, num_classes=10):
        super().__init__()
        self.conv, self.out = nn.Conv2d(in_channels, 8, 3), nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.out(F.relu(self.conv(255 * x)).flatten(1))
"""


@pytest.fixture
def networks(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    return tmp_path / "networks.py"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def lines(capsys, network: str, images: Any = "digits", epochs: int = 8, **options) -> list[str]:
    """What training says of its layers."""
    capsys.readouterr()
    cl.train(str(network), images, epochs=epochs, tensorboard=False, size=options.pop("size", 16), **options)
    words = ("never fire", "hardly learns", "in one step", "look whether the labels", "scale what")
    return [line for line in capsys.readouterr().err.splitlines() if any(word in line for word in words)]


def test_dead_rectifiers_are_named(capsys, networks):
    (line,) = lines(capsys, f"{networks}:Dead", epochs=1)
    assert "conv: 100 % of its channels never fire; try a lower learning rate" in line


def test_vanishing_gradients_are_named(capsys, networks):
    (line,) = lines(capsys, f"{networks}:deep_sigmoids", settings=["optimizer.lr=0.001"])
    assert "1: its gradient is" in line
    assert "it hardly learns; try ReLU" in line


def test_inputs_that_are_not_normalized_are_named(capsys, networks):
    (line,) = lines(capsys, f"{networks}:Unscaled", epochs=1)
    assert "conv is given values with mean" in line


@pytest.mark.parametrize("network", ["lenet5", "mlp"])
def test_a_rate_a_hundred_times_too_high_is_named(capsys, network):
    said = lines(capsys, network, settings=["optimizer.lr=0.3"])
    assert said
    assert all("try a lower learning rate" in line for line in said)


def test_labels_that_do_not_belong_to_the_pictures_are_named(capsys):
    part = data.find("digits").read(Preprocess((8, 8), 1)).parts["train"]
    labels = np.random.default_rng(0).permutation(part.labels)
    (line,) = lines(capsys, "lenet5", Images(part.pixels, labels, part.classes, "shuffled"), size=28)
    assert "look whether the labels belong to the pictures" in line


HEALTHY = [
    ("lenet5", {}), ("mlp", {}), ("lenet5_1998", {}),
    ("lenet5", {"settings": ["optimizer.name=sgd", "optimizer.lr=0.05"]}),
    ("lenet5", {"recipe": "fast"}), ("mlp", {"engine": "numpy"}), ("resnet20_cifar", {"epochs": 2}),
    ("lenet5", {"settings": ["ema=0.99"]}), ("lenet5", {"settings": ["label_smoothing=0.2"], "seed": 3}),
    ("mlp", {"settings": ["batch_size=16"]}),
]  # fmt: skip


@pytest.mark.parametrize(("network", "options"), HEALTHY, ids=range(10))
def test_healthy_runs_are_told_nothing(capsys, network, options):
    assert lines(capsys, network, **{"epochs": 8, "size": 32 if "resnet" in network else 28, **options}) == []


def test_the_figures_are_those_of_pytorch():
    torch.manual_seed(0)
    module = models.create("resnet20_cifar").train()
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = look(module, x, y, 10)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    module.eval()
    F.cross_entropy(module(x), y).backward()
    for path, part in module.named_modules():
        own = [p.grad for p in part.parameters(recurse=False) if p.grad is not None]
        if own:
            squares = torch.cat([g.flatten() for g in own]).double().square()
            assert found[path]["gradient"] == pytest.approx(float(squares.mean().sqrt()), rel=1e-4)
    assert found["conv1"]["input_mean"] == pytest.approx(float(x.mean()), abs=1e-5)
    assert found["conv1"]["input_std"] == pytest.approx(float(x.std()), rel=1e-5)
    norm = untyped(module.get_submodule("bn1"))
    assert found["bn1"]["running_mean"] == float(norm.running_mean.abs().max())


def test_the_figures_stand_in_the_metrics_and_an_update_is_that_of_the_last_step(tmp_path):
    kept = []

    class Weights(Listener):
        def step(self, run, images, loss):
            kept.append({name: np.array(values) for name, values in run.engine.parameters()})

    cl.train(
        "mlp", "digits", epochs=2, quiet=True, tensorboard=False, out=tmp_path / "run", listeners=[Weights()],
    )  # fmt: skip
    first, last = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "layers" not in first
    for name, values in kept[-1].items():
        if values.ndim == 2:
            moved = np.linalg.norm(values - kept[-2][name]) / np.linalg.norm(values)
            assert last["layers"][name.rpartition(".")[0]]["update"] == pytest.approx(float(moved), rel=1e-5)


def test_what_is_seen_changes_no_bit_of_the_run(tmp_path, monkeypatch):
    cl.train("lenet5", "digits", epochs=2, quiet=True, tensorboard=False, out=tmp_path / "seen")
    monkeypatch.setattr("convlens.training.callbacks.layers.Layers._is_looked_at", lambda *_: False)
    cl.train("lenet5", "digits", epochs=2, quiet=True, tensorboard=False, out=tmp_path / "unseen")
    seen, unseen = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("seen", "unseen"))
    assert seen == unseen


def test_the_report_shows_the_first_and_the_last_look(tmp_path):
    run = cl.train("lenet5", "digits", epochs=30, quiet=True, tensorboard=False, out=tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    looks = [record for record in map(json.loads, lines) if "layers" in record]
    page = run.report().read_text("utf-8")
    assert "Training seen from within" in page
    assert f"At the end of epoch {looks[0]['epoch']} → of epoch 30, on 64 training images." in page
    first, last = (f"{look['layers']['features.c1']['gradient']:.2g}" for look in (looks[0], looks[-1]))
    assert f"{first} → {last}" in page
    moved = [f"{100 * look['layers']['features.c1']['update']:.2f} %" for look in (looks[0], looks[-1])]
    assert " → ".join(moved) in page
    assert "从内部看训练" in run.report(language="zh").read_text("utf-8")


class StopAfterLastStep(Listener):
    "A request to end between the last step of the run and its validation."

    def step(self, run, images, loss):
        if run.epoch == run.epochs - 1 and run.step == run.engine.steps_per_epoch:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_that_ended_after_the_last_step_of_an_epoch_sees_the_same_when_it_goes_on(tmp_path):
    options = {"epochs": 2, "tensorboard": False, "seed": 5}
    cl.train("mlp", "digits", out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        cl.train("mlp", "digits", out=tmp_path / "ended", listeners=[StopAfterLastStep()], **options)
    cl.train("mlp", "digits", out=tmp_path / "ended", resume=True, **options)
    whole, ended = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])["layers"]
        for name in ("whole", "ended")
    )
    assert any("update" in figures for figures in whole.values())
    assert ended == whole
