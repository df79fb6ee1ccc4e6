"""A plan is data: it survives JSON, it is what `run.json` holds, and it can be built and run without a request."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from torch import nn

import convlens as cl
from convlens.base.errors import InputError
from convlens.runs import RunFolder
from convlens.training.compare import differences
from convlens.training.experiment import build
from convlens.training.options import OPTIONS, checked, words
from convlens.training.plan import Plan
from convlens.training.request import Request
from convlens.training.resolve import find_source, resolve
from convlens.training.run import run

BRIEF = {"epochs": 1, "quiet": True, "tensorboard": False}


def plan_of(model: Any = "mlp", data: Any = "digits", **options) -> Plan:
    request = Request(model, data, **{"epochs": 1, "seed": 3, "precision": "float32"} | options)
    return resolve(request, find_source(request), None, [])


def test_a_plan_survives_json():
    plan = plan_of(size="10x12", settings=["optimizer.lr=0.03"], engine="numpy")
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert differences(plan, plan) == []


def test_a_plan_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan_of().seed = 5  # type: ignore[misc]


def test_run_json_holds_the_plan(tmp_path):
    plan = plan_of()
    trained = cl.train("mlp", "digits", seed=3, precision="float32", out=tmp_path / "run", **BRIEF)
    assert Plan.of(trained.record) == plan


def test_a_plan_alone_can_be_built_and_run_and_gives_the_weights_of_the_command(tmp_path):
    plan = Plan.from_dict(json.loads(json.dumps(plan_of().to_dict())))
    (tmp_path / "alone").mkdir()
    found = run(build(plan), RunFolder(tmp_path / "alone"))
    asked = cl.train("mlp", "digits", seed=3, precision="float32", out=tmp_path / "asked", **BRIEF)
    assert (tmp_path / "alone/weights.safetensors").read_bytes() == (
        tmp_path / "asked/weights.safetensors"
    ).read_bytes()
    assert found.record.results is not None
    assert found.record.results["test"] == asked.results["test"]


def test_a_plan_of_a_network_that_was_handed_over_needs_it_again():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    pictures = (np.zeros((8, 8, 8), np.uint8), np.arange(8) % 2)
    plan = plan_of(network, pictures, size=8)
    assert (plan.source, plan.data, plan.command()) == ("live", "arrays", None)
    with pytest.raises(InputError, match="was handed over as an object: pass it again"):
        build(plan)


@pytest.mark.parametrize("source", ["file", "zoo"])
def test_a_plan_from_elsewhere_runs_no_file_that_it_names(source, tmp_path):
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\ndef Net(): pass\n")
    with pytest.raises(InputError):
        build(dataclasses.replace(plan_of(), source=source, network=f"{trap}:Net", file=str(trap)))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 4}, "seed: the run has 3, you asked for 4"),
        ({"engine": "numpy"}, "engine: the run has torch, you asked for numpy"),
        ({"size": 9}, "input size: the run has [1, 28, 28], you asked for [1, 9, 9]"),
        ({"model": "lenet5"}, "network: the run has mlp, you asked for lenet5"),
        ({"settings": ["l1=0.5"]}, "recipe: l1 is 0.0 in the run, you asked for 0.5"),
    ],
)
def test_what_makes_two_plans_differ_is_named(change, said):
    assert said in differences(plan_of(**{"recipe": "default"} | change), plan_of(recipe="default"))


def test_device_and_threads_make_no_other_plan():
    other = dataclasses.replace(plan_of(), numeric=dataclasses.replace(plan_of().numeric, threads=9, device="cuda"))
    assert differences(other, plan_of()) == []


def test_words_name_what_is_no_default_and_nothing_else():
    assert words(checked({})) == []
    options = checked({"epochs": 3, "settings": ["a=1", "b=2"], "tensorboard": False, "resume": True, "classes": None})
    assert words(options) == ["--epochs", "3", "--resume", "--set", "a=1", "--set", "b=2", "--no-tensorboard"]


def test_the_command_line_has_every_option_that_can_be_typed():
    from typer.testing import CliRunner

    from convlens.cli import app

    shown = CliRunner().invoke(app, ["train", "--help"], terminal_width=200).stdout
    for name, row in OPTIONS.items():
        flag = (row.flag or f"--{name.replace('_', '-')}").split()[0]
        assert (flag in shown) == (row.typed is not None), name
