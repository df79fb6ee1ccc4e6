"""The forms of a network, measured: what is said follows from the figures, and nothing wins by being wrong."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import convlens as cl
from convlens.base import hardware
from convlens.cli import app
from convlens.deploy.bench import forms, measure
from convlens.deploy.bench.measure import Bench, Measured
from convlens.deploy.bench.verdict import best, sentence
from convlens.deploy.of_run import bench_run, best_form


def form(name: str, one: float, many: float, accuracy: float = 0.9) -> Measured:
    return Measured(name, p50=1 / one, p99=2 / one, rate={1: one, 8: one, 64: many}, accuracy=accuracy)


def bench(*measured: Measured) -> Bench:
    return Bench(measured, n=1000, threads=1, processor="P")


def test_the_fastest_form_wins_by_size_of_batch():
    found = bench(form("pytorch", 100, 200), form("onnx float32", 800, 300), form("onnx int8", 300, 640))
    assert (best(found, 1).name, best(found, 64).name) == ("onnx float32", "onnx int8")
    said = sentence(found)
    assert "One image: onnx float32, 8.0 times as fast as PyTorch." in said
    assert "Batches of 64: onnx int8, 3.2 times as fast as PyTorch." in said
    assert "a single image takes 2.0 times as long as one in a batch of 64" in said


def test_a_form_that_loses_answers_does_not_win():
    found = bench(form("pytorch", 100, 100), form("onnx float32", 110, 110), form("onnx int8", 900, 900, accuracy=0.89))
    assert best(found).name == "onnx float32"
    assert "Not counted, for more than 0.3 points of accuracy are lost: onnx int8." in sentence(found)


def test_nothing_else_being_faster_is_said():
    found = bench(form("pytorch", 100, 100), Measured("onnx int8", why="it cannot"), form("onnx float32", 90, 90))
    assert sentence(found) == (
        "One image: PyTorch as it is. Batches of 64: PyTorch as it is. No other form is faster on this processor."
    )
    assert best_form(found) == ("program", {})


def test_the_winner_is_what_is_exported():
    winner = bench(form("pytorch", 100, 100), form("onnx float32", 200, 200), form("onnx int8", 500, 500))
    assert best_form(winner) == ("onnx", {"int8": True})
    assert "8 bits are 2.5 times as fast as float32" in sentence(winner)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> cl.Run:
    out = tmp_path_factory.mktemp("bench") / "run"
    return cl.train("lenet5", "digits", epochs=6, out=out, quiet=True, tensorboard=False)


@pytest.fixture(scope="module")
def found(run) -> Bench:
    return bench_run(run.classifier(), run.folder, run.record, seconds=0, threads=1, compiled=False)


def test_each_form_is_measured_or_says_why_not(run, found):
    assert [one.name for one in found.forms] == [
        "pytorch", "pytorch, channels-last", "pytorch, bfloat16", "pytorch, compiled", "onnx float32", "onnx int8",
    ]  # fmt: skip
    for one in found.forms:
        assert (one.rate is None) == bool(one.why)
        if one.rate is not None:
            assert set(one.rate) == {1, 8, 64}
            assert (one.p50 or 0) <= (one.p99 or 0)
    assert found["pytorch, compiled"].why == "not asked for"


def test_accuracies_are_those_of_the_test_images(run, found):
    assert found["pytorch"].accuracy == found["onnx float32"].accuracy == run.results["test"]["accuracy"]
    assert found.n == run.results["test"]["n"]


def test_start_and_memory_are_those_of_a_process_of_its_own(found):
    eager, onnx = found["pytorch"], found["onnx float32"]
    assert (eager.start or 0) > 0
    assert 10e6 < (onnx.memory or 0) < (eager.memory or 0)  # without PyTorch


@pytest.mark.slow
def test_the_network_and_pytorch_are_left_as_they_were(run):
    import torch

    module = run.module
    before = {name: (t.stride(), t.clone()) for name, t in module.state_dict().items()}
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    module.train()
    bench_run(run.classifier(), run.folder, run.record, seconds=0, threads=1, compiled=False)
    assert module.training
    module.eval()
    assert all(
        t.stride() == before[name][0] and torch.equal(t, before[name][1]) for name, t in module.state_dict().items()
    )
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_processor_without_bfloat16_does_not_run_it(run, monkeypatch):
    monkeypatch.setattr(forms, "machine", lambda: hardware.Machine(**{**vars(hardware.machine()), "instructions": ()}))
    assert forms._bfloat16(run.module, 10).why == "this processor has no instructions for it"


@pytest.mark.slow
def test_the_command_gives_the_figures_and_the_sentence(run):
    done = CliRunner().invoke(app, ["bench", str(run.path), "--seconds", "0", "--no-compile", "--json", "--quiet"])
    answer = json.loads(done.stdout.splitlines()[-1])
    assert {one["name"] for one in answer["forms"]} == set(answer["best"].values()) | {
        "pytorch", "pytorch, channels-last", "pytorch, bfloat16", "pytorch, compiled", "onnx float32", "onnx int8",
    }  # fmt: skip
    assert answer["why"].startswith("One image: ")


def test_best_writes_the_form_that_won(run, tmp_path, monkeypatch):
    winner = bench(form("pytorch", 100, 100), form("onnx float32", 200, 200))
    monkeypatch.setattr("convlens.deploy.of_run.bench_run", lambda *_, **__: winner)
    done = CliRunner().invoke(app, ["export", str(run.path), "--best", "--out", str(tmp_path / "m"), "--json"])
    assert done.exit_code == 0, done.output
    assert "onnx float32, 2.0 times as fast" in done.stderr
    (tmp_path / "m").rename(tmp_path / "m.onnx")
    pixels = np.zeros((1, *run.classifier().preprocess.size, 1), np.uint8)
    np.testing.assert_allclose(
        cl.Classifier.from_onnx(tmp_path / "m.onnx").logits(pixels), run.classifier().logits(pixels), atol=1e-4
    )


def test_calls_are_timed_one_by_one():
    taken = measure._calls(lambda x: x, np.zeros(1), 0)
    assert len(taken) == 3
    assert all(one >= 0 for one in taken)
