"""The command that the report gives, run as it stands, trains the same weights; where there is none, it says why."""

import inspect
import os
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

import convlens as cl
from convlens.data import Images
from convlens.report.again import again
from convlens.runs import RunRecord
from typed import present, untyped

NETWORK = """
from torch import nn

def Net(num_classes, in_channels, width=4, title="", sides=()):
    assert title in ("", "true", "it's 3", "none"), title
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.LazyLinear(num_classes, bias=title != "true"),
    )
"""
RECIPE = """
base = "fast"
epochs = 2
batch_size = 16
ema = 0.9
[optimizer]
name = "adam"
lr = 1e-3
[augment]
crop_scale = [0.5, 1]
cutout = 3
[schedule]
name = "step"
milestones = [0.25, 0.5]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with pictures, a recipe, a network and weights, under names that a shell must be told of."""
    home = tmp_path_factory.mktemp("it's $HOME & more")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("dark", "light")):
        (home / "my pictures" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 99, (18, 16, 3)) + 150 * number
            Image.fromarray(pixels.astype(np.uint8)).save(home / "my pictures" / name / f"{i}.png")
    (home / "own.toml").write_text(RECIPE)
    (home / "own net.py").write_text(NETWORK)
    return home


def brief(out: Path, model: Any, data: Any, **how: Any) -> cl.Run:
    return cl.train(model, data, out=out, quiet=True, tensorboard=False, **untyped({"epochs": 1, **how}))


RUNS: dict[str, dict[str, Any]] = {
    "the defaults": {"epochs": None, "settings": ["max_epochs=3"]},
    "seed, size, batch": {"seed": 12345678901, "size": (28, 30), "batch_size": 50, "precision": "float32"},
    "many settings": {
        "settings": [
            "optimizer.betas=[0.8, 0.95]", "optimizer.lr=1e-05", "schedule.name=plateau", "schedule.warmup=0",
            "augment.flip=alternating", "augment.padding=edge", "label_smoothing=0.1", "gradient_clip=1",
            "lookahead=0.5", "class_weights=[1,2,1,1,1,1,1,1,1,0.5]", "model.dropout=0.25", "model.norm_layer=batch",
            "early_stopping=1", "val_fraction=0.2", "test_fraction=0.3", "l1=1e-6",
        ],
    },
    "a network with lists": {"model": "mlp", "settings": ["model.hidden=[6, 5]", "model.activation=tanh"]},
    "a recipe in a file": {"model": "sprint", "data": "my pictures", "recipe": "own.toml", "epochs": None},
    "a recipe in a dictionary": {
        "recipe": {"optimizer": {"name": "muon", "lr": 0.01}, "augment": {"shift": 1, "mixup": 0.2}, "batch_size": 100},
    },
    "a network in a file": {
        "model": "own net.py:Net", "data": "my pictures", "size": 20,
        "settings": ["model.width=3", 'model.title="true"', "model.sides=[[1, 2], [3]]"],
    },
    "words that look like values": {
        "model": "own net.py:Net", "data": "my pictures", "recipe": {"model": {"title": "none"}}, "stream": True,
    },
    "words with quotes": {"model": "own net.py:Net", "data": "my pictures", "recipe": {"model": {"title": "it's 3"}}},
    "one thread": {"threads": 1, "seed": -3},
    "NumPy": {"engine": "numpy", "settings": ["optimizer.name=sgd", "augment.shift=0"], "batch_size": 64},
    "whitening": {"model": "sprint", "data": "my pictures", "settings": ["whitening=3", "identity_start=true"]},
}  # fmt: skip


@pytest.mark.parametrize("how", RUNS.values(), ids=RUNS)
def test_the_command_of_the_report_trains_the_same_weights(how, home, tmp_path, commands, monkeypatch):
    monkeypatch.chdir(home)
    run = brief(tmp_path / "run", **{"model": "lenet5", "data": "digits"} | how)
    assert_trains_the_same(run, tmp_path / "again", commands)


def assert_trains_the_same(run: cl.Run, out: Path, commands) -> None:
    """In another process, from another folder."""
    found = again(run.record)
    assert found.command is not None, found.remarks
    page = (run.path / "report.html").read_text()
    shown = unescape(page.split("<code>")[1].split("</code>")[0]).replace("<span>", "").replace("</span>", "").strip()
    assert shown == found.command
    answer = commands.run(*shlex.split(found.command)[1:], "--out", str(out), "--quiet", "--no-tensorboard")
    assert answer["code"] == 0, commands.said()
    assert (out / "weights.safetensors").read_bytes() == (run.path / "weights.safetensors").read_bytes()


def test_weights_to_start_from_are_part_of_the_command(home, tmp_path, commands, monkeypatch):
    monkeypatch.chdir(tmp_path)
    brief(Path("first one"), "lenet5", "digits", seed=5)
    run = brief(Path("second"), "lenet5", "digits", weights=Path("first one") / "weights.safetensors")
    assert_trains_the_same(run, tmp_path / "again", commands)
    assert any(present(run.record.started_from).sha256 in remark for remark in again(run.record).remarks)


def test_a_shell_runs_the_command_as_it_stands(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    run = brief(
        tmp_path / "run", "own net.py:Net", "my pictures", recipe={"model": {"title": "it's 3"}, "batch_size": 8}
    )
    command = f"{again(run.record).command} --out {shlex.quote(str(tmp_path / 'again'))} --quiet"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command], cwd="/", env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == run.folder.weights.read_bytes()


def test_where_no_command_can_train_it_again_the_page_says_so_and_why(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    pixels = np.arange(40 * 64, dtype=np.int64).reshape(40, 8, 8).astype(np.uint8)
    arrays = (pixels, np.arange(40) % 2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 784, 2))
    cases = {
        "live": (network, "my pictures", {"size": 28, "recipe": {"val_fraction": 0.2}}, ["network", "object"]),
        "arrays": ("mlp", arrays, {}, ["images", "arrays"]),
        "parts": ("mlp", {"train": arrays, "test": Images.from_arrays(*arrays)}, {}, ["images", "arrays"]),
    }
    for name, (model, data, how, words) in cases.items():
        run = brief(tmp_path / name, model, data, **how)
        found = again(run.record)
        assert found.command is None
        assert all(word in found.remarks[0] for word in words)
        page = (run.path / "report.html").read_text()
        assert "No command can:" in page
        assert "convlens train" not in page


def test_every_argument_of_training_is_in_the_command_or_changes_no_weight():
    changes_nothing = {
        "out",
        "resume",
        "quiet",
        "tensorboard",
        "log_steps",
        "started",
        "listeners",
        "max_restarts",
        "deadline",
    }
    within_the_recipe = {"recipe", "epochs", "batch_size", "settings", "precision", "budget", "find_lr", "processes",
                         "stages", "freeze"}  # fmt: skip
    others = {
        "model",
        "data",
        "classes",
        "seed",
        "size",
        "stream",
        "weights",
        "from_",  # stands for network, weights and recipe
        "engine",
        "device",
        "threads",
        "deterministic",
        "fast",  # said beside the command: other bits
    }
    assert set(inspect.signature(cl.train).parameters) == changes_nothing | within_the_recipe | others


def test_what_is_not_sure_is_said(tmp_path):
    run = brief(tmp_path / "run", "mlp", "digits")
    assert "same bits" in " ".join(again(run.record).remarks)
    record = run.record.model_dump(mode="json")
    gpu = RunRecord.model_validate(record | {"numeric": record["numeric"] | {"device": "cuda", "deterministic": False}})
    assert "close, not the same" in " ".join(again(gpu).remarks)
    assert "--threads" not in shlex.split(again(gpu).command or "")
    moved = [{"started": "", "total": 1.0, "train": 1.0, "changed": ["threads: 1 instead of 2"]}]
    found = again(RunRecord.model_validate(record | {"processes": moved}))
    assert "close, not the same" in found.remarks[0]
    assert "threads: 1 instead of 2" in found.remarks[0]
    broken = again(RunRecord.model_validate(record | {"recipe": record["recipe"] | {"from another version": 1}}))
    assert broken.command is None
    assert "from another version" in broken.remarks[0]


def test_a_run_whose_time_was_up_says_that_the_command_gives_other_weights(tmp_path):
    record = brief(tmp_path / "run", "mlp", "digits").record
    assert record.results is not None
    stopped = {"reason": "budget", "epoch": 2, "planned": 9, "best_epoch": 1, "patience": 0}
    cut = record.model_copy(update={"results": record.results | {"stopped": stopped}})
    assert "others: the time was up in epoch 2 of 9" in again(cut).remarks[0]
    assert "same bits" not in " ".join(again(cut).remarks)


@pytest.mark.parametrize("options", [{"budget": "5m"}, {"find_lr": True, "epochs": 2}], ids=["budget", "find_lr"])
def test_what_was_chosen_by_measuring_is_in_the_command(tmp_path, options, commands):
    run = cl.train("mlp", data="digits", out=tmp_path / "run", quiet=True, tensorboard=False, **options)
    words = shlex.split(again(run.record).command or "")[1:]
    assert commands.run(*words, "--out", str(tmp_path / "again"), "--quiet")["code"] == 0, commands.said()
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("run", "again"))
    assert first == second


def test_a_resume_with_other_threads_is_noted_in_the_run(tmp_path, commands):
    command = ["train", "mlp", "--data", "digits", "--epochs", "2", "--set", "checkpoint_seconds=0", "--quiet"]
    out = ["--no-tensorboard", "--out", str(tmp_path / "run")]
    assert commands.run(*command, *out, "--threads", "1", kill_at=60)["code"] == -9
    assert commands.run(*command, *out, "--threads", "2", "--resume")["code"] == 0, commands.said()
    run = cl.load(tmp_path / "run")
    assert [process.changed for process in run.record.processes] == [[], ["threads: 2 instead of 1"]]
    assert run.record.numeric["threads"] == 1


def test_named_classes_are_in_the_run_and_in_the_command(home, tmp_path):
    names = ["light", "dark"]
    run = brief(tmp_path / "run", "mlp", str(home / "my pictures"), classes=names)
    assert run.record.classes == names
    words = shlex.split(again(run.record).command or "")
    assert words[words.index("--classes") + 1] == '["light", "dark"]'
    assert run.evaluate().n > 0
