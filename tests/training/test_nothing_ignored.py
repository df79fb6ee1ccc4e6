"""The caller's process stays as it was; recipes are checked at the door; a diverged run says so."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import convlens as cl
from convlens.base.errors import DivergedError, InputError
from convlens.scratch import optimizers as by_hand
from convlens.training import numpy_engine, optimizers
from convlens.training import recipe as recipes


def drawn() -> tuple[float, float, float, int, bool]:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    process = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    return (torch.rand(1).item(), np.random.rand(), random.random(), *process)  # noqa: NPY002


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_the_callers_random_states_and_threads_are_as_before(tmp_path, ends):
    expected = drawn()
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    settings = ["batch_size=500", *(["class_weights=[1.0]"] if ends == "badly" else [])]
    arguments = {"epochs": 1, "settings": settings, "out": tmp_path / "run", "quiet": True, "tensorboard": False}
    if ends == "badly":
        with pytest.raises(InputError, match="class_weights"):
            cl.train("mlp", "digits", **arguments)
    else:
        cl.train("mlp", "digits", **arguments).predict(np.zeros((8, 8), np.uint8))
    now = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert (torch.rand(1).item(), np.random.rand(), random.random(), *now) == expected  # noqa: NPY002


def test_a_diverged_last_update_ends_the_run_without_a_result(tmp_path):
    settings = ["optimizer.lr=1e38", "optimizer.name=sgd", "schedule.name=constant", "val_fraction=0"]
    with pytest.raises(DivergedError, match="not finite"):
        cl.train("lenet5", epochs=1, batch_size=2000, settings=settings, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    module.register_buffer("running", torch.tensor([float("inf")]))
    with pytest.raises(DivergedError, match="running"):
        cl.train(module, "digits", epochs=1, size=8, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize(("name", "hint"), [("epoch", "'epochs'"), ("lr", "settings"), ("batchsize", "'batch_size'")])
def test_a_misspelt_argument_is_named(name, hint):
    misspelt: dict[str, Any] = {name: 1}
    with pytest.raises(InputError, match=hint):
        cl.train("lenet5", "digits", **misspelt)


@pytest.mark.parametrize(
    "content",
    ["# caf\xe9".encode("latin-1"), b'base = "bad.toml"', b"base = 3", b"x = " + b"[" * 5000, b"x = " + b"9" * 5000,
     b"class_weights = [-1.0, 2.0]", b"[optimizer]\nbetas = [1.5, 0.9]", b"[schedule]\nmilestones = [inf]"],
)  # fmt: skip
def test_a_recipe_file_of_any_content_is_refused_in_one_line(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(InputError) as refused:
        recipes.load("bad.toml")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000, "[-1.0]", "nan", "{a = 1}"])
def test_a_setting_of_any_value_is_refused_in_one_line(value):
    with pytest.raises(InputError) as refused:
        recipes.load(settings=[f"class_weights={value}"])
    assert "\n" not in str(refused.value)


OTHERS = {"l1": 0.1, "class_weights": "balanced", "gradient_clip": 1.0, "ema": 0.9, "lookahead": 0.9, "views": "mirror",
          "compile": True, "precision": "bfloat16", "head": "features", "shards": 4,
          "fine_tune": 2}  # fmt: skip


def test_every_recipe_key_is_honored_or_named_by_the_numpy_engine():
    off = {"optimizer": {}, "augment": {"flip": False, "shift": 0}}
    for key in recipes.Recipe.model_fields:
        if key in numpy_engine.SUPPORTED | {"optimizer", "augment"}:
            continue
        recipe = recipes.parse({**off, key: OTHERS[key]}, "test")  # a KeyError: a new key that nobody decided about
        assert numpy_engine.unsupported(recipe, (1, 28, 28)) == [key]
    left = {f"optimizer.{key}" for key in recipes.Optimizer.model_fields} - numpy_engine.SUPPORTED
    assert left == {"optimizer.layer_decay"}
    slower = recipes.parse({**off, "optimizer": {"layer_decay": 0.5}}, "test")
    assert numpy_engine.unsupported(slower, (1, 28, 28)) == ["optimizer.layer_decay"]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_both_engines_walk_the_same_path(name):
    settings = recipes.Optimizer(name=name, lr=0.01, weight_decay=0.1, bias_lr=4.0)
    torch.manual_seed(0)
    module = nn.Linear(5, 3)
    arrays = {key: p.detach().numpy().copy() for key, p in module.named_parameters()}
    ours = numpy_engine.optimizer_of(recipes.Recipe(optimizer=settings), {"bias"})
    theirs = optimizers.build(module, settings)
    assert isinstance(ours, (by_hand.SGD, by_hand.Adam, by_hand.RMSprop))
    for _ in range(5):
        gradients = {key: torch.randn_like(p) for key, p in module.named_parameters()}
        for key, p in module.named_parameters():
            p.grad = gradients[key].clone()
        for each in theirs:
            each.step()
        ours.step(arrays, {key: g.numpy() for key, g in gradients.items()})
    for key, p in module.named_parameters():
        np.testing.assert_allclose(arrays[key], p.detach().numpy(), atol=1e-5)
