"""`--engine numpy`: the same run, the same promises, none of PyTorch's arithmetic."""

import json

import numpy as np
import pytest
import torch
from test_resume import assert_same_outcome

import convlens as cl
from convlens.base.errors import InputError
from convlens.training import numpy_engine

NUMPY = ["train", "lenet5_bn_tfbook", "--engine", "numpy", "--epochs", "2", "--quiet", "--no-tensorboard",
         "--set", "batch_size=256", "--set", "checkpoint_seconds=0"]  # fmt: skip


def test_it_learns_digits(tmp_path):
    run = cl.train("lenet5", "digits", engine="numpy", epochs=6, out=tmp_path / "run", quiet=True)
    assert run.results["test"]["accuracy"] > 0.93
    assert run.record.engine == "numpy"
    judged_by_torch = run.evaluate()
    assert judged_by_torch.accuracy == run.results["test"]["accuracy"]
    assert judged_by_torch.loss == pytest.approx(run.results["test"]["loss"], rel=1e-4)


def test_no_step_calls_an_operation_of_pytorch(tmp_path, monkeypatch):
    called = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            called.append(getattr(func, "__name__", str(func)))
            return func(*args, **(kwargs or {}))

    step = numpy_engine.NumpyEngine.step

    def watched(self, x, y, **where):
        assert isinstance(x, np.ndarray)
        with Watch():
            return step(self, x, y, **where)

    monkeypatch.setattr(numpy_engine.NumpyEngine, "step", watched)
    cl.train("lenet5", "digits", engine="numpy", epochs=1, out=tmp_path / "run", quiet=True, tensorboard=False)
    assert called == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_kill_and_a_resume_change_nothing(commands, tmp_path, optimizer):
    command = [*NUMPY, "--set", f"optimizer.name={optimizer}", "--set", "optimizer.lr=0.01"]
    undisturbed = commands.run(*command, "--out", str(tmp_path / "undisturbed"))
    assert undisturbed["code"] == 0, commands.said()
    killed = commands.run(*command, "--out", str(tmp_path / "killed"), kill_at=undisturbed["operations"] // 2)
    assert killed["code"] == -9
    resumed = commands.run(*command, "--out", str(tmp_path / "killed"), "--resume")
    assert resumed["code"] == 0, commands.said()
    assert_same_outcome(tmp_path / "killed", tmp_path / "undisturbed")


def test_what_it_leaves_out_is_said(commands, tmp_path):
    answer = commands.run(*[word for word in NUMPY if word != "--quiet"], "--out", str(tmp_path / "run"))
    assert answer["code"] == 0
    assert "the NumPy engine trains without augment.shift" in commands.said()


def test_an_optimizer_that_it_lacks_and_another_engine_on_resume_are_refused(tmp_path):
    with pytest.raises(InputError, match="muon"):
        cl.train(engine="numpy", settings=["optimizer.name=muon"], out=tmp_path / "a", quiet=True)
    with pytest.raises(InputError, match="'numpy'"):
        cl.train(engine="numppy", out=tmp_path / "b", quiet=True)
    cl.train("mlp", engine="numpy", epochs=1, out=tmp_path / "c", quiet=True)
    record = json.loads((tmp_path / "c" / "run.json").read_text())
    (tmp_path / "c" / "run.json").write_text(json.dumps(record | {"results": None}))
    with pytest.raises(InputError, match="engine: the run has numpy"):
        cl.train("mlp", engine="torch", out=tmp_path / "c", resume=True, quiet=True)
