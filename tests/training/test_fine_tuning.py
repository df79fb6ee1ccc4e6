"""Transfer in two stages: the output layer, then the rest from the top down; and the better of both is kept."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import convlens as cl
from convlens.base.errors import InputError
from convlens.training import groups, optimizers
from convlens.training.events import Listener
from convlens.training.recipe import Optimizer

QUIET: dict[str, Any] = {"quiet": True, "tensorboard": False}


def digits(*which: int):
    found = load_digits()
    chosen = np.isin(found.target, which)  # type: ignore[attr-defined]
    return (found.images[chosen] * 15).astype(np.uint8), found.target[chosen]  # type: ignore[attr-defined]


class Small(nn.Module):
    """Two convolutions with batch norm, and a dense layer."""

    def __init__(self):
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.high = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2))
        self.out = nn.Linear(16, 5)

    def forward(self, x):
        return self.out(self.high(self.low(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A network that knows the digits 0 to 4 a little."""
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("runs") / "taught"
    return cl.train(Small(), data=digits(0, 1, 2, 3, 4), epochs=10, batch_size=16, out=out, **QUIET)


def transferred(taught, out, *listeners, **options):
    torch.manual_seed(0)
    return cl.train(
        Small(), data=digits(5, 6, 7, 8, 9), weights=taught.path, recipe="transfer", out=out, listeners=listeners,
        settings=["epochs=4", *options.pop("settings", [])], **QUIET, **options,
    )  # fmt: skip


def metrics(run) -> list[dict]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


class Watch(Listener):
    """What the weights are after each epoch."""

    def __init__(self):
        self.weights = []

    def epoch(self, run, record) -> None:
        self.weights.append(run.engine.weights())


def changed(before, after) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


def test_the_network_opens_from_its_output_down(taught, tmp_path):
    watch = Watch()
    transferred(taught, tmp_path / "run", watch, settings=["fine_tune=4"])
    assert len(watch.weights) == 8
    head, several = {"out.weight", "out.bias"}, watch.weights[3:]
    opened = [changed(before, after) for before, after in pairwise(several)]
    high = {"high.0.weight", "high.0.bias", "high.1.weight", "high.1.bias"}
    low = {name.replace("high", "low") for name in high}
    parts = [{"out"}, {"high.1"}, {"high.0"}, {"low.1"}, {"low.0"}]  # three are too few: blocks are opened
    assert [path for path, _ in groups.parts(Small())] == ["low.0", "low.1", "high.0", "high.1", "out"]
    for names, share in zip(opened, (2, 3, 4, 5), strict=True):
        assert {name.rpartition(".")[0] for name in names} == set().union(*parts[:share])
    assert opened[-1] == head | high | low  # statistics of batch norms are as they came: the set is small


def test_what_is_kept_is_the_best_of_both_stages(taught, tmp_path):
    first = transferred(taught, tmp_path / "one", settings=["fine_tune=0"])
    second = transferred(
        taught,
        tmp_path / "two",
        settings=["fine_tune=10", "batch_size=16", "optimizer.lr=0.02", "optimizer.layer_decay=0.9"],
    )
    alone, lines = metrics(first), metrics(second)
    assert [line["val_loss"] for line in lines[:4]] == pytest.approx([line["val_loss"] for line in alone], rel=1e-6)
    best = min(lines, key=lambda line: line["val_loss"])
    assert second.results["best_epoch"] == best["epoch"] > 4
    assert second.results["test"]["accuracy"] > first.results["test"]["accuracy"] + 0.05  # the features were poor
    assert ["lr" in line for line in lines] == [False] * 4 + [True] * 10
    worse = transferred(taught, tmp_path / "three", settings=["fine_tune=2", "optimizer.lr=2", "gradient_clip=1.0"])
    assert worse.results["best_epoch"] <= 4
    assert worse.results["test"] == first.results["test"]


class Stops(Listener):
    def __init__(self, epoch: int, step: int):
        self.at = epoch, step

    def step(self, run, images, loss) -> None:
        if (run.epoch, run.step) == self.at:
            run.save()
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [(2, 1), (4, 3), (5, 1)], ids=["the fits", "the first epoch after", "the second"])
def test_a_run_that_was_cut_in_either_stage_goes_on_with_the_same_bits(taught, tmp_path, at):
    settings = ["fine_tune=2", "batch_size=64"]
    transferred(taught, tmp_path / "whole", settings=settings)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        transferred(taught, tmp_path / "cut", Stops(*at), settings=settings)
    transferred(taught, tmp_path / "cut", settings=settings, resume=True)
    whole, cut = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_rates_fall_from_part_to_part():
    module = Small()
    factors = groups.depth_factors(module, 0.5)
    assert factors["out.weight"] == factors["out.bias"] == 1
    assert (factors["high.1.weight"], factors["high.0.bias"], factors["low.0.weight"]) == (0.5, 0.25, 0.0625)
    (made,) = optimizers.build(module, Optimizer(lr=0.1, layer_decay=0.5, bias_lr=2))
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    own = {name: rates[id(p)] for name, p in module.named_parameters()}
    assert own["low.0.weight"] == pytest.approx(0.1 * 0.0625)
    assert own["high.0.bias"] == pytest.approx(0.2 * 0.25)
    with pytest.raises(InputError, match="muon"):
        optimizers.build(module, Optimizer(name="muon", layer_decay=0.5))


def test_stages_and_frozen_parts_are_options(tmp_path):
    taught = cl.train("lenet5", data=digits(0, 1, 2), epochs=1, out=tmp_path / "taught", **QUIET)
    run = cl.train(
        data=digits(5, 6, 7), from_=taught.path, stages=2, freeze=["features.c1"], out=tmp_path / "run", **QUIET
    )
    assert run.record.recipe["fine_tune"] == 3
    before, after = taught.folder.read_weights()[0], run.folder.read_weights()[0]
    assert run.results["best_epoch"] > run.record.recipe["epochs"]
    assert "features.c1.weight" not in changed(before, after)
    assert "features.c3.weight" in changed(before, after)
    alone = cl.train(data=digits(5, 6, 7), from_=taught.path, stages=1, out=tmp_path / "one", **QUIET)
    assert alone.record.recipe["fine_tune"] == 0
    with pytest.raises(InputError, match="--stages goes with --from"):
        cl.train("lenet5", data=digits(5, 6), stages=2, out=tmp_path / "no", **QUIET)


def test_a_budget_that_has_time_is_used_for_the_second_stage(tmp_path):
    taught = cl.train("lenet5", data=digits(0, 1, 2), epochs=1, out=tmp_path / "taught", **QUIET)
    long = cl.train(data=digits(5, 6, 7), from_=taught.path, budget="10m", out=tmp_path / "long", **QUIET)
    assert long.record.recipe["fine_tune"] == 5
    short = cl.train(data=digits(5, 6, 7), from_=taught.path, budget="10s", out=tmp_path / "short", **QUIET)
    assert short.record.recipe["fine_tune"] == 0
