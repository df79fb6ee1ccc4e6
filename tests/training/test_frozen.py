"""The recipe key `frozen`: what it names does not move, in either engine, and the caller's flags come back."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import convlens as cl
from convlens.base.errors import InputError
from typed import untyped

PIXELS, LABELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.9))
    return nn.Sequential().append(body).append(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 2)))


def train(module, out, engine="torch", **settings):
    settings = {"optimizer.name": "sgd", "optimizer.momentum": 0.0, "augment.shift": 0, "val_fraction": 0.0} | settings
    return cl.train(
        module, {"train": (PIXELS, LABELS), "test": (PIXELS, LABELS)}, engine=engine, epochs=2, batch_size=8, size=8,
        settings=[f"{key}={value}" for key, value in settings.items()], precision="float32", device="cpu", out=out,
        quiet=True, tensorboard=False,
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_what_is_frozen_does_not_move_its_statistics_included_and_the_rest_does(engine, tmp_path):
    module = network()
    before = copy.deepcopy(module.state_dict())
    run = train(module, tmp_path / "run", engine, frozen='["0"]')
    kept = {name for name, t in run.module.state_dict().items() if torch.equal(t, before[name])}
    assert kept == {name for name in before if name.startswith("0.")}


def test_both_engines_agree_since_nothing_is_dropped_in_a_frozen_part(tmp_path):
    runs = [train(network(), tmp_path / engine, engine, frozen='["0"]') for engine in ("torch", "numpy")]
    ours, theirs = (run.module.state_dict() for run in runs)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5, msg=name)


def test_the_network_is_given_back_as_trainable_as_it_was(tmp_path):
    module = network()
    untyped(module[1])[2].bias.requires_grad_(False)
    train(module, tmp_path / "run", frozen='["0"]')
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == ["1.2.bias"]


@pytest.mark.parametrize(("path", "said"), [("featurs", "'features'"), ("", "at the top are features, classifier")])
def test_a_path_that_is_none_is_refused_and_the_nearest_named(path, said, tmp_path):
    with pytest.raises(InputError, match="frozen: the network has no module") as caught:
        cl.train("lenet5", "digits", settings=[f'frozen=["{path}"]'], out=tmp_path / "run", quiet=True)
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_network_that_is_frozen_whole_is_refused(tmp_path):
    with pytest.raises(InputError, match="no parameters to train"):
        train(network(), tmp_path / "run", frozen='["0", "1"]')


def test_how_much_is_trained_is_said(tmp_path, capsys):
    cl.train("lenet5", "digits", epochs=1, settings=['frozen=["features"]'], out=tmp_path / "run", tensorboard=False)
    assert "frozen: features; 59,134 of 61,706 parameters are trained" in " ".join(capsys.readouterr().err.split())
