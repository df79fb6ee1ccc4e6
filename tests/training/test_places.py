"""A bad setting costs nothing: no run folder is left, and the corrected command may name the same one."""

import json
from pathlib import Path

import numpy as np
import pytest
from killing import EVERYTHING_ON
from torch import nn

import convlens as cl
from convlens.base import files
from convlens.base.errors import DivergedError, InputError
from convlens.runs import RunFolder
from convlens.training import place


def pictures(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    return (rng.integers(0, 50, (n, 12, 12)) + 60 * labels[:, None, None]).astype(np.uint8), labels


def train(out: Path, **how) -> cl.Run:
    how = {"model": "mlp", "data": pictures(), "epochs": 1, "quiet": True, "tensorboard": False} | how
    return cl.train(out=out, **how)


class Fails(nn.Module):
    """Works in inference, so that a look at it finds nothing, and fails in the step that is asked for."""

    def __init__(self, step: int):
        super().__init__()
        self.body, self.step, self.calls = nn.Linear(784, 3), step, 0

    def forward(self, x):
        self.calls += self.training
        if self.calls == self.step:
            raise ValueError("this step fails")
        return self.body(x.flatten(1))


BAD = {
    "unknown network": {"model": "mlq"},
    "no such file": {"model": "nowhere.py:Net"},
    "a class instead of a network": {"model": Fails},
    "unknown argument of the network": {"settings": ["model.hiden=[5]"]},
    "wrong argument of the network": {"settings": ["model.hidden=[-5]"]},
    "argument that the data decide": {"settings": ["model.num_classes=5"]},
    "too small": {"model": "lenet5", "size": 3},
    "too large": {"size": 10_000},
    "no size": {"size": "big"},
    "three sides": {"size": (3, 28, 28)},
    "unknown key": {"settings": ["optimizer.speed=5"]},
    "value of another type": {"settings": ["optimizer.lr=fast"]},
    "settings in one string": {"settings": "optimizer.lr=0.1"},
    "deep brackets": {"settings": ["model.hidden=" + "[" * 5000]},
    "no epochs": {"epochs": 0},
    "epochs in words": {"epochs": "ten"},
    "half an epoch": {"epochs": 0.5},
    "no batch": {"batch_size": 0},
    "weights for fewer classes": {"recipe": {"class_weights": [1.0, 2.0]}},
    "a crop of nothing": {"settings": ["augment.crop_scale=[0,0]"]},
    "a shift beyond the picture": {"settings": ["augment.shift=99"]},
    "quarter turns of oblong pictures": {"size": (28, 30), "settings": ["augment.quarter_turns=true"]},
    "unknown engine": {"engine": "nump"},
    "an optimizer that NumPy lacks": {"engine": "numpy", "settings": ["optimizer.name=muon"]},
    "unknown device": {"device": "abacus"},
    "device that is not here": {"device": "cuda:77"},
    "empty device": {"device": ""},
    "unknown precision": {"precision": "int4"},
    "unknown recipe": {"recipe": "fats"},
    "a recipe that is a number": {"recipe": 5},
    "no weights": {"weights": "none.safetensors"},
    "seed in words": {"seed": "five"},
    "a seed too large": {"seed": 1 << 64},
    "one class": {"data": (pictures()[0], np.zeros(60, np.int64))},
    "a first step that fails": {"model": Fails(1)},
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_setting_is_one_line_and_leaves_no_folder(bad, tmp_path):
    with pytest.raises((InputError, ValueError)) as caught:
        train(tmp_path / "runs" / "a", **bad)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_corrected_command_may_name_the_same_folder_with_and_without_resume(tmp_path):
    for resume in (False, True):
        out = tmp_path / str(resume)
        with pytest.raises(InputError):
            train(out, settings=["model.hidden=[-5]"])
        with pytest.raises(DivergedError, match="nothing had been saved yet"):
            train(out, settings=["optimizer.lr=1e30", "optimizer.name=sgd"])
        assert not out.exists()
        assert train(out, resume=resume).results["epochs"] == 1


def test_a_folder_that_was_there_stays_and_so_does_what_was_learned_before_a_failure(tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    with pytest.raises(InputError):
        train(out, epochs=0)
    with pytest.raises(ValueError, match="this step fails"):
        train(out, model=Fails(1))
    assert list(out.iterdir()) == []
    with pytest.raises(ValueError, match="this step fails"):
        train(out, model=Fails(3), recipe={"checkpoint_seconds": 0.0, "batch_size": 8})
    assert RunFolder(out).holds_weights()
    with pytest.raises(InputError, match="--resume"):
        train(out)


def test_a_run_that_was_killed_before_it_saved_anything_may_be_begun_anew_with_other_settings(commands):
    folder = commands.folder / "begun"
    answer = commands.run(*EVERYTHING_ON, "--out", str(folder), kill_at=4)
    assert answer["code"] == -9
    assert (folder / "run.json").exists()
    assert not RunFolder(folder).holds_weights()
    commands.run(*EVERYTHING_ON, "--seed", "5", "--resume", "--out", str(folder), kill_at=4)
    answer = commands.run(*EVERYTHING_ON, "--seed", "6", "--out", str(folder))
    assert answer["code"] == 0, commands.said()
    assert json.loads((folder / "run.json").read_text())["seed"] == 6


def test_another_that_trains_in_the_folder_is_not_disturbed(tmp_path):
    train(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    (tmp_path / "new").mkdir()
    with RunFolder(tmp_path / "new").lock(), pytest.raises(InputError, match="in use"):
        train(tmp_path / "new")
    assert (tmp_path / "new" / ".lock").exists()
    with pytest.raises(InputError, match="already holds a run"):
        train(tmp_path / "run", epochs=5)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


def test_two_runs_that_choose_the_same_name_in_the_same_second_both_train(tmp_path, monkeypatch):
    taken, free = tmp_path / "taken", tmp_path / "free"
    names = iter((taken, free))
    monkeypatch.setattr(place, "fresh_path", lambda *_: next(names))
    taken.mkdir()
    with RunFolder(taken).lock():
        assert cl.train("mlp", pictures(), epochs=1, quiet=True, tensorboard=False).path == free


def test_a_lock_whose_folder_was_removed_and_made_again_is_nobodys(tmp_path):
    old = files.FolderLock(tmp_path)
    with old:
        (tmp_path / ".lock").unlink()
        with files.FolderLock(tmp_path):
            pass  # the new file is another lock


def test_sizes_with_two_sides_and_lists_for_the_network_are_taken_from_the_command_line_and_from_python(tmp_path):
    typed = train(tmp_path / "a", size="28x30", settings=["model.hidden=[6, 5]"])
    given = train(tmp_path / "b", size=(28, np.int64(30)), recipe=typed.record.recipe | {"model": {"hidden": [6, 5]}})
    assert typed.record.model.input == given.record.model.input == [1, 28, 30]
    shapes = {name: tuple(p.shape) for name, p in typed.module.named_parameters() if name.endswith("weight")}
    assert list(shapes.values()) == [(6, 840), (5, 6), (3, 5)]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert [len(list(train(tmp_path / "c", settings=["model.hidden=[]"]).module.parameters()))] == [2]


def test_a_batch_larger_than_the_set_is_said(tmp_path, capsys):
    run = train(tmp_path / "run", batch_size=1000, quiet=False)
    assert "batch_size 1,000 is more than the 42 images for training" in capsys.readouterr().err
    assert run.results["epochs"] == 1


def test_a_resume_in_another_way_says_how_to_go_on_from_what_was_learned(tmp_path, capsys):
    train(tmp_path / "run")
    with pytest.raises(InputError, match=f"epochs is 1 .* asked for 5; .*--weights {tmp_path}/run"):
        train(tmp_path / "run", epochs=5, resume=True)
    with pytest.raises(InputError, match="input size"):
        train(tmp_path / "run", size=30, resume=True)
    assert train(tmp_path / "more", epochs=2, weights=tmp_path / "run").results["epochs"] == 2
    capsys.readouterr()
    train(tmp_path / "run", resume=True, data="digits", threads=77, quiet=False)
    said = capsys.readouterr().err
    assert said == f"the run {tmp_path}/run is finished already: nothing was trained; not looked at: data, threads\n"
