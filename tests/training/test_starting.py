"""`--weights`: what a run starts from is said, recorded, and held to on a resume."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import convlens as cl
from convlens import models
from convlens.base.errors import InputError
from convlens.report.again import again
from typed import present, untyped

BRIEF = {"data": "digits", "epochs": 1, "quiet": True, "device": "cpu", "settings": ["optimizer.lr=1e-30"]}


def weights(tmp_path, seed, name="w.safetensors", prefix=""):
    torch.manual_seed(seed)
    state = models.create("sprint", num_classes=10).state_dict()
    save_file({f"{prefix}{key}": value for key, value in state.items()}, tmp_path / name)
    return state


def first_filter(run):
    return run.module.state_dict()["features.conv1.weight"]


def test_what_was_stripped_is_said_and_where_it_came_from_recorded(tmp_path, capsys):
    state = weights(tmp_path, 1, prefix="backbone.")
    options = untyped({**BRIEF, "quiet": False})
    run = cl.train("sprint", **options, weights=tmp_path / "w.safetensors", out=tmp_path / "run")
    said = " ".join(capsys.readouterr().err.split())
    assert "'backbone.' stripped from the names" in said
    assert present(run.record.started_from).path == str(tmp_path / "w.safetensors")
    torch.testing.assert_close(first_filter(run), state["features.conv1.weight"])
    assert f"--weights {tmp_path}/w.safetensors" in (again(run.record).command or "")


def test_a_run_folder_is_a_start(tmp_path):
    weights(tmp_path, 1)
    first = cl.train("sprint", **BRIEF, weights=tmp_path / "w.safetensors", out=tmp_path / "first")
    second = cl.train("sprint", **BRIEF, weights=tmp_path / "first", out=tmp_path / "second", seed=5)
    torch.testing.assert_close(first_filter(second), first_filter(first))
    with pytest.raises(InputError, match="is not a run folder"):
        cl.train("sprint", **BRIEF, weights=tmp_path, out=tmp_path / "third")


def test_a_resume_with_other_weights_is_refused(tmp_path):
    weights(tmp_path, 1)
    weights(tmp_path, 2, "other.safetensors")
    cl.train("sprint", **BRIEF, weights=tmp_path / "w.safetensors", out=tmp_path / "run")
    cl.train("sprint", **BRIEF, out=tmp_path / "fresh")
    for run, given in (("run", "other.safetensors"), ("fresh", "w.safetensors")):
        for unfinished in (False, True):
            if unfinished:
                make_unfinished(tmp_path / run)
            with pytest.raises(InputError, match="weights: the run began from"):
                cl.train("sprint", **BRIEF, weights=tmp_path / given, out=tmp_path / run, resume=True)


def make_unfinished(path):
    record = json.loads((path / "run.json").read_text())
    record["results"] = record["weights_sha256"] = None
    (path / "run.json").write_text(json.dumps(record))
    (path / "report.html").unlink(missing_ok=True)


def test_a_resume_with_the_same_weights_goes_on_from_the_checkpoint_and_says_so(tmp_path, capsys):
    weights(tmp_path, 1)
    cl.train("sprint", **BRIEF, weights=tmp_path / "w.safetensors", out=tmp_path / "run")
    make_unfinished(tmp_path / "run")
    capsys.readouterr()
    again = {**BRIEF, "quiet": False}
    cl.train("sprint", **again, weights=tmp_path / "w.safetensors", out=tmp_path / "run", resume=True)
    assert "w.safetensors is not read again" in " ".join(capsys.readouterr().err.split())


def test_a_run_that_had_saved_nothing_begins_again_from_its_weights(tmp_path):
    state = weights(tmp_path, 1)
    cl.train("sprint", **BRIEF, weights=tmp_path / "w.safetensors", out=tmp_path / "run")
    for change in (None, "moved"):
        make_unfinished(tmp_path / "run")
        (tmp_path / "run" / "last.safetensors").unlink()
        if change:
            (tmp_path / "w.safetensors").rename(tmp_path / "elsewhere.safetensors")
            with pytest.raises(InputError, match="are gone or others; give them with --weights"):
                cl.train("sprint", **BRIEF, out=tmp_path / "run", resume=True)
        given = tmp_path / "elsewhere.safetensors" if change else None
        run = cl.train("sprint", **BRIEF, weights=given, out=tmp_path / "run", resume=True)
        torch.testing.assert_close(first_filter(run), state["features.conv1.weight"])


def test_weights_that_do_not_fit_leave_no_run_folder_behind(tmp_path):
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="another network"):
        cl.train("sprint", **BRIEF, weights=tmp_path / "w.safetensors", out=tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
