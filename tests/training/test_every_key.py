"""Each key of a recipe, under each engine: it changes what comes out, or a line names it."""

import json
import time

import numpy as np
import pytest

from convlens.base.errors import InputError
from convlens.training import engines, job, numpy_engine, run
from convlens.training import recipe as recipes
from convlens.training import settings as numeric_settings
from convlens.training.request import Request

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 60)
OFF = ["epochs=2", "batch_size=8", "val_fraction=0.2", "precision=float32", "optimizer.name=sgd", "optimizer.lr=0.02",
       "augment.flip=false", "augment.shift=0", "schedule.name=constant", "schedule.warmup=0.0",
       "checkpoint_seconds=1000"]  # fmt: skip
ADAM, MUON = ["optimizer.name=adam", "optimizer.lr=0.003"], ["optimizer.name=muon"]
RMSPROP = ["optimizer.name=rmsprop", "optimizer.lr=0.001"]
RISES = ["epochs=8", "optimizer.lr=0.03"]  # the validation loss rises soon: the labels are random
CHANGES = {  # key: another value, and what has to be so that it matters
    "epochs": ("3", []),
    "budget": ("250", ["epochs=auto", "budget=100"]),
    "max_epochs": ("4", ["epochs=auto", "max_epochs=3"]),
    "batch_size": ("16", []),
    "eval_batch_size": ("7", []),
    "val_fraction": ("0.4", []),
    "test_fraction": ("0.5", []),
    "label_smoothing": ("0.3", []),
    "class_weights": ("[1.0, 2.0, 9.0]", []),
    "l1": ("0.1", []),
    "gradient_clip": ("0.01", []),
    "ema": ("0.9", []),
    "lookahead": ("0.8", ["val_fraction=0.0"]),
    "identity_start": ("true", ["of lenet5"]),
    "whitening": ("3", ["of lenet5"]),
    "head": ("features", []),  # refused here: there is nothing trained; see test_transfer
    "fine_tune": ("2", []),  # see test_transfer
    "frozen": ('["features.c1"]', ["of lenet5"]),
    "views": ("mirror", []),
    "early_stopping": ("1", RISES),
    "shards": ("4", []),
    "precision": ("bfloat16", []),
    "compile": ("true", []),
    "checkpoint_seconds": ("0", []),
    "optimizer.name": ("adam", []),
    "optimizer.lr": ("0.05", []),
    "optimizer.momentum": ("0.5", []),
    "optimizer.nesterov": ("false", []),
    "optimizer.betas": ("[0.5, 0.6]", ADAM),
    "optimizer.alpha": ("0.5", RMSPROP),
    "optimizer.centered": ("true", RMSPROP),
    "optimizer.eps": ("0.1", ADAM),
    "optimizer.weight_decay": ("0.5", []),
    "optimizer.layer_decay": ("0.3", []),
    "optimizer.bias_lr": ("8.0", []),
    "optimizer.muon_normalize": ("true", MUON),
    "optimizer.muon_lr": ("0.2", MUON),
    "schedule.name": ("cosine", []),
    "schedule.warmup": ("0.5", []),
    "schedule.final": ("0.5", ["schedule.name=cosine"]),
    "schedule.milestones": ("[0.1, 0.2]", ["schedule.name=step"]),
    "schedule.gamma": ("0.5", ["schedule.name=step"]),
    "schedule.patience": ("1", ["schedule.name=plateau", "schedule.patience=50", *RISES]),
    "preprocess.scale": ("unit", []),
    "augment.flip": ("true", []),
    "augment.vertical_flip": ("true", []),
    "augment.shift": ("3", []),
    "augment.crop_scale": ("[0.3, 0.5]", []),
    "augment.crop_ratio": ("[0.2, 0.3]", ["augment.crop_scale=[0.3, 0.5]"]),
    "augment.quarter_turns": ("true", []),
    "augment.rotate": ("45.0", []),
    "augment.brightness": ("0.5", []),
    "augment.contrast": ("0.5", []),
    "augment.saturation": ("0.9", []),
    "augment.noise": ("0.2", []),
    "augment.cutout": ("4", []),
    "augment.mixup": ("0.5", []),
    "augment.cutmix": ("1.0", []),
    "augment.padding": ("reflect", ["augment.shift=3"]),
    "model": ("tanh", ["of lenet5"]),
}


def keys() -> set[str]:
    """Every key that a recipe has."""
    inner = {f"{name}.{key}" for name, section in recipes.SECTIONS.items() for key in section.model_fields}
    return inner | (recipes.Recipe.model_fields.keys() - recipes.SECTIONS.keys())


def test_each_key_has_its_place_here():
    assert keys() == CHANGES.keys()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What comes out of a run with certain settings: everything that a key may change, and the lines that were said."""
    known = {}

    def of(engine: str, settings: list[str]) -> tuple[dict | None, str]:
        key = (engine, *settings)
        if key not in known:
            known[key] = _outcome(tmp_path_factory.mktemp("runs") / "run", engine, settings)
        return known[key]

    return of


def _outcome(folder, engine: str, settings: list[str]) -> tuple[dict | None, str]:
    said, seen = [], {"batches": [], "saves": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numeric_settings, "_no_compiler", lambda device: "this test has no compiler")
        patch.setattr(run.Progress, "note", lambda self, text: said.append(text))
        _spy(patch, run.Trainer, "save", lambda *a, **k: seen.update(saves=seen["saves"] + 1))
        _spy(patch, engines.Loader, "__init__", lambda *a, **k: seen["batches"].append(k["batch_size"]))
        _spy(patch, numpy_engine.loop, "predict", lambda *a, **k: seen["batches"].append(k["batch_size"]))
        model = "lenet5" if "of lenet5" in settings else "mlp"
        chosen = tuple(OFF + [word for word in settings if word != "of lenet5"])
        size = 28 if model == "lenet5" else 8
        try:
            job.train(
                Request(model=model, data=(PIXELS, LABELS), engine=engine, settings=chosen, out=folder, size=size,
                        quiet=True, tensorboard=False, seed=1, started=time.perf_counter())
            )  # fmt: skip
        except InputError as error:
            return None, str(error)
    results = json.loads((folder / "run.json").read_text())["results"]
    plain = {key: results.get(key) for key in ("epochs", "test", "test_views", "val")}
    rates = [json.loads(line)["lr"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = (folder / "weights.safetensors").read_bytes()
    return {"weights": weights, "results": plain, "rates": rates, **seen}, "\n".join(said)


def _spy(patch, owner, name, look) -> None:
    true = getattr(owner, name)

    def spying(*arguments, **named):
        look(*arguments, **named)
        return true(*arguments, **named)

    patch.setattr(owner, name, spying)


@pytest.mark.parametrize("engine", ["torch", "numpy"])
@pytest.mark.parametrize("key", CHANGES)
def test_it_changes_what_comes_out_or_is_named(key, engine, outcome):
    value, around = CHANGES[key]
    without, _ = outcome(engine, around)
    found, said = outcome(engine, [*around, f"{'model.activation' if key == 'model' else key}={value}"])
    if without is None or found is None:
        assert key in said or "optimizer 'muon'" in said, said
    elif without == found:
        assert key in said or (key == "compile" and "not compiled" in said), f"{key} was ignored without a word"
