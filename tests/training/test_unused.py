"""Settings named as without effect have none, the others have one, and what was left open stands in run.json."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import convlens as cl
from convlens.data import Images
from convlens.training import job
from convlens.training.recipe import Recipe, leaves, merged
from convlens.training.request import Request

OTHER: dict[str, Any] = {
    "budget": 7, "max_epochs": 3, "eval_batch_size": 7, "label_smoothing": 0.3, "class_weights": [1.0, 3.0], "l1": 1e-3,
    "gradient_clip": 0.01, "ema": 0.5, "lookahead": 0.5, "identity_start": True, "whitening": 3, "early_stopping": 1,
    "optimizer.lr": 0.003, "optimizer.momentum": 0.5, "optimizer.nesterov": False, "optimizer.betas": [0.5, 0.6],
    "optimizer.eps": 0.01, "optimizer.weight_decay": 0.3, "optimizer.bias_lr": 3.0, "optimizer.muon_normalize": True,
    "optimizer.muon_lr": 0.01, "schedule.warmup": 0.4, "schedule.final": 0.5, "schedule.milestones": [0.1],
    "schedule.gamma": 0.9, "schedule.patience": 1, "augment.crop_ratio": [0.4, 0.5], "augment.padding": "edge",
    "augment.flip": True, "augment.shift": 3, "augment.noise": 0.3, "val_fraction": 0.4, "test_fraction": 0.4,
}  # fmt: skip
WITHOUT_A_TRACE = {
    "eval_batch_size", "early_stopping", "gradient_clip", "whitening", "identity_start",
    "schedule.gamma", "schedule.patience",
}  # fmt: skip
"""Keys that have an effect, but not on the weights of so short a run of this network."""

BASES: dict[str, dict[str, Any]] = {
    "sgd, cosine": {"optimizer": {"name": "sgd", "lr": 0.01}, "schedule": {"name": "cosine"}},
    "adamw, step": {"optimizer": {"name": "adamw", "lr": 0.01}, "schedule": {"name": "step"}},
    "sgd without momentum, constant": {"optimizer": {"momentum": 0.0}, "schedule": {"name": "constant"}},
    "muon, triangular": {"optimizer": {"name": "muon", "lr": 0.01}, "schedule": {"name": "triangular"}},
    "adam, plateau, crop": {
        "optimizer": {"name": "adam", "lr": 0.01}, "schedule": {"name": "plateau", "patience": 1},
        "augment": {"crop_scale": [0.5, 1.0]},
    },
    "everything for training": {"val_fraction": 0.0, "schedule": {"name": "plateau"}},
}  # fmt: skip


def pictures() -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(60) % 2
    noise = np.random.default_rng(0).integers(0, 99, (60, 8, 8))
    return (noise + 60 * labels[:, None, None]).astype(np.uint8), labels


def weights(out: Path, recipe: dict[str, Any], **how: Any) -> tuple[bytes, Any]:
    """(the weights that come out, the record), of four epochs of a small network; no report is written."""
    asked = {"model": "mlp", "data": pictures(), "quiet": True, "tensorboard": False, "precision": "float32"} | how
    folder = job.train(Request(recipe=recipe, out=out, **asked)).folder  # type: ignore[union-attr]
    return folder.weights.read_bytes(), folder.read_record()


def assert_named_rightly(base: dict[str, Any], keys: list[str], tmp_path: Path, **how: Any) -> None:
    small = {"epochs": 4, "batch_size": 10, "model": {"hidden": [8, 8]}}
    base = merged(small, base) if not isinstance(how.get("model"), nn.Module) else merged({"epochs": 4}, base)
    plain, record = weights(tmp_path / "plain", base, **how)
    for key in keys:
        other: Any = OTHER[key]
        for part in reversed(key.split(".")):
            other = {part: other}
        changed, _ = weights(tmp_path / key, merged(base, other), **how)
        if key in record.unused:
            assert changed == plain, f"{key} is called unused and has an effect"
        elif key not in WITHOUT_A_TRACE:
            assert changed != plain, f"{key} has no effect and is not called unused"


OF_THE_NAMES = [key for key in OTHER if key.split(".")[0] in ("optimizer", "schedule")]


@pytest.mark.parametrize("base", list(BASES.values())[:2], ids=list(BASES)[:2])
def test_settings_called_unused_have_no_effect_and_the_others_have(base, tmp_path):
    assert_named_rightly(base, OF_THE_NAMES, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_all_settings_called_unused_have_no_effect_and_the_others_have(base, tmp_path):
    assert_named_rightly(base, list(OTHER), tmp_path)


@pytest.mark.slow
def test_settings_that_numpy_leaves_out_are_called_unused(tmp_path):
    keys = [key for key in OTHER if key not in ("val_fraction", "test_fraction")]
    assert_named_rightly(BASES["sgd, cosine"], keys, tmp_path, engine="numpy")


def test_parts_that_the_source_has_are_not_cut(tmp_path):
    part = Images.from_arrays(*pictures())
    given = {"train": part, "val": part, "test": part}
    assert_named_rightly(BASES["sgd, cosine"], ["val_fraction", "test_fraction"], tmp_path, data=given)


def test_nothing_is_built_of_a_network_that_is_handed_over(tmp_path):
    recipe = {"model": {"hidden": [5]}, "whitening": 3, "identity_start": True, "epochs": 1}
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    _, record = weights(tmp_path / "run", recipe, model=network)
    assert {"model.hidden", "whitening", "identity_start"} <= set(record.unused)


def test_settings_without_effect_are_said_where_they_were_asked_for_one_by_one(tmp_path, capsys):
    weights(tmp_path / "run", {"optimizer": {"name": "adam", "momentum": 0.3}, "epochs": 1}, quiet=False)
    assert "without effect, because of other settings: optimizer.momentum\n" in capsys.readouterr().err
    weights(tmp_path / "other", {"optimizer": {"name": "sgd", "momentum": 0.3}, "epochs": 1}, quiet=False)
    assert "without effect" not in capsys.readouterr().err


def test_what_the_recipe_left_open_stands_in_run_json_and_in_the_report(tmp_path):
    run = cl.train("mlp", "digits", out=tmp_path / "run", settings=["max_epochs=3"], quiet=True, tensorboard=False)
    resolved = run.record.resolved
    assert run.record.recipe["epochs"] == run.record.recipe["batch_size"] == "auto"
    assert (resolved["epochs"], resolved["batch_size"]) == (3, 64)  # 1,294 images, at least 20 steps per epoch
    assert (resolved["augment.flip"], resolved["augment.shift"]) == (False, 2)
    assert resolved["precision"] == run.record.numeric["dtype"]
    known = {key for key, _ in leaves(Recipe().model_dump())}
    assert set(resolved) <= known
    assert set(run.record.unused) <= known
    page = (run.path / "report.html").read_text()
    assert "<dt>epochs</dt><dd>3 (auto)</dd>" in page
    assert f"{len(run.record.unused)} recipe settings without effect on this run" in page
