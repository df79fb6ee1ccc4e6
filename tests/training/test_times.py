"""The time of a run is that of all processes that worked on it, and a run that stops early says so."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from killing import EVERYTHING_ON

from convlens.base.errors import Interrupted
from convlens.base.progress import Progress
from convlens.classify.evaluation import Evaluation, from_logits
from convlens.runs import RunFolder, RunRecord
from convlens.training import clock as clock_module
from convlens.training import loop as loop_module
from convlens.training.callbacks import checkpoint as checkpoint_module
from convlens.training.callbacks.checkpoint import Checkpoints, Times, restore
from convlens.training.callbacks.display import Display
from convlens.training.callbacks.metrics import MetricsFile
from convlens.training.callbacks.stopping import EarlyStopping, SaveAndLeave
from convlens.training.clock import Clock
from convlens.training.loop import Trainer
from convlens.training.recipe import Recipe
from convlens.training.stop import Stop

RECORD = RunRecord.model_validate(
    {
        "created": "2026-01-01",
        "model": {"source": "zoo", "name": "lenet5", "input": [1, 8, 8], "parameters": 1},
        "classes": ["a", "b"],
        "preprocess": {"size": [8, 8], "channels": 1},
        "recipe": {"val_fraction": 0.1, "test_fraction": 0.2},
        "seed": 0,
        "numeric": {"device": "cpu", "dtype": "float32", "channels_last": True, "threads": 1},
        "data": {"source": "digits", "name": "digits", "fingerprint": "", "counts": {}, "split": ""},
        "versions": {},
    }
)


class Hands:
    """The hands of a clock that only this test moves."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Engine:
    """Trains nothing: a step takes 10 seconds, judging takes 1, and the accuracies are given."""

    steps_per_epoch, loss_is_at_hand = 4, True

    def __init__(self, hands: Hands, accuracies: list[float]):
        self.hands, self.accuracies = hands, accuracies
        self.stop_at, self.stop = -1, Stop()
        self.done = 0

    def batches(self, epoch: int, start: int):
        self.epoch = epoch
        return ((np.zeros(2), np.zeros(2)) for _ in range(start, self.steps_per_epoch))

    def step(self, x, y, *, epoch: int, step: int, factor: float) -> float:
        self.hands.now += 10
        self.done += 1
        if self.done == self.stop_at:
            self.stop.signum = 15
        return 1.0

    def totals(self) -> dict[str, float]:
        return {"loss": 2.0, "correct": 1, "seen": 2}

    def reset_totals(self) -> None: ...

    def validate(self) -> Evaluation | None:
        self.hands.now += 1
        right = round(10 * self.accuracies[self.epoch])
        logits = np.array([[1.0, 0.0]] * right + [[0.0, 1.0]] * (10 - right))
        return from_logits(logits, np.zeros(10, np.int64), ("a", "b"))

    def weights(self) -> dict[str, np.ndarray]:
        return {"w": np.zeros(1, np.float32)}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        return iter(self.weights().items())

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {"model.w": np.zeros(1, np.float32)}, {}

    def load_state(self, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None: ...


@pytest.fixture
def hands(monkeypatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(clock_module.time, "perf_counter", hands.perf_counter)
    monkeypatch.setattr(loop_module.time, "perf_counter", hands.perf_counter)
    monkeypatch.setattr(checkpoint_module.time, "perf_counter", hands.perf_counter)
    return hands


def process(folder: RunFolder, engine: Engine, *, epochs: int, stop_at: int = -1, **recipe: Any) -> tuple[Trainer, str]:
    """What a process does between its start and its end: 5 seconds of reading, then training. (trainer, its words)."""
    engine.stop_at, engine.stop, engine.done = stop_at, Stop(), 0
    record = folder.read_record() if folder.holds_a_run() else RECORD
    clock = Clock(folder, record, started=engine.hands.now)
    engine.hands.now += 5
    progress = Progress("", epochs=epochs, steps_per_epoch=4, quiet=True)
    notes: list[str] = []
    progress.note = notes.append  # type: ignore[method-assign]
    settings = Recipe(checkpoint_seconds=1e9, **recipe)
    listeners = [
        *([EarlyStopping(settings.early_stopping)] if settings.early_stopping else []),
        Display(progress),
        MetricsFile(folder),
        Times(clock),
        SaveAndLeave(engine.stop, ""),
        Checkpoints(folder, settings.checkpoint_seconds),
    ]
    trainer = Trainer(engine, recipe=settings, epochs=epochs, folder=folder, clock=clock, listeners=listeners)
    if folder.last.exists():
        restore(trainer, folder)
    try:
        with clock.training():
            trainer.fit()
    except Interrupted:
        pass
    return trainer, "\n".join(note for note in notes if not note.startswith(("epoch ", "going on")))


def test_times_of_three_processes_are_added_and_epochs_go_on_from_where_they_were(hands, tmp_path):
    folder, engine = RunFolder(tmp_path), Engine(hands, [0.1, 0.2, 0.3, 0.4, 0.5])
    process(folder, engine, epochs=5, stop_at=6)  # in the middle of the second epoch
    hands.now += 1000  # nobody works on it
    process(folder, engine, epochs=5, stop_at=1)  # one step
    trainer, _ = process(folder, engine, epochs=5)
    assert [(p.total, p.train) for p in folder.read_record().processes] == [(66, 61), (15, 10), (139, 134)]
    assert trainer.clock.trained() == 5 * 41
    assert sum(p.total for p in trainer.clock.stamped().processes) == 5 * 41 + 3 * 5
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [line["elapsed"] for line in lines] == [41, 82, 123, 164, 205]
    assert [line["seconds"] for line in lines] == [40, 40, 40, 40, 40]
    assert [line["images_per_second"] for line in lines] == [0.2] * 5


def test_a_run_that_stops_early_says_when_and_why(hands, tmp_path):
    folder, engine = RunFolder(tmp_path), Engine(hands, [0.1, 0.5, 0.4, 0.4, 0.4, 0.9])
    trainer, said = process(folder, engine, epochs=6, early_stopping=2)
    assert trainer.epoch == 4
    assert said == (
        "stopped early, after epoch 4 of 6: no better validation result for 2 epochs (the best is that of epoch 2)"
    )
    again, said = process(folder, engine, epochs=6, early_stopping=2)  # a kill before it was judged
    assert (again.epoch, again.stopped) == (4, trainer.stopped)
    assert said.startswith("stopped early")


def test_a_run_whose_patience_ends_with_its_last_epoch_did_not_stop_early(hands, tmp_path):
    trainer, said = process(RunFolder(tmp_path), Engine(hands, [0.1, 0.5, 0.4, 0.4]), epochs=4, early_stopping=2)
    assert (trainer.stopped, said) == (None, "")


def test_a_killed_run_reports_the_time_of_all_its_processes(commands):
    folder = commands.folder / "times"
    whole = commands.run(*EVERYTHING_ON, "--out", str(commands.folder / "whole"))["operations"]
    before = []
    for share in (5, 3):
        commands.run(*EVERYTHING_ON, "--out", str(folder), "--resume", kill_at=whole * share // 10)
        before = json.loads((folder / "run.json").read_text())["processes"]
    answer = commands.run(*EVERYTHING_ON, "--out", str(folder), "--resume", "--json")
    assert answer["code"] == 0, commands.said()
    result = json.loads(commands.said().splitlines()[-1])
    record = json.loads((folder / "run.json").read_text())
    assert record["processes"][:-1] == before
    assert len(record["processes"]) == 3
    for part in ("total", "train"):
        assert result["seconds"][part] == pytest.approx(sum(p[part] for p in record["processes"]), abs=0.0011)
        assert result["seconds"][part] > sum(p[part] for p in before) > 0
    elapsed = [json.loads(line)["elapsed"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] <= result["seconds"]["train"] + 0.001
    assert "Trained in 3 processes" in (folder / "report.html").read_text()


def test_the_command_that_stopped_early_says_so_on_stdout_in_json_and_in_the_report(commands):
    folder = commands.folder / "early"
    command = ["train", "--data", "digits", "--epochs", "30", "--set", "early_stopping=1", "--quiet"]
    answer = commands.run(*command, "--set", "optimizer.lr=1e-9", "--no-tensorboard", "--out", str(folder))
    assert answer["code"] == 0, commands.said()
    results = json.loads((folder / "run.json").read_text())["results"]
    assert results["stopped"]["reason"] == "early_stopping"
    assert results["epochs"] == results["stopped"]["epoch"] < results["stopped"]["planned"] == 30
    sentence = f"after epoch {results['epochs']} of 30: no better validation result for 1 epoch"
    assert f"stopped early, {sentence}" in commands.said()
    assert f"Stopped early, {sentence}" in (folder / "report.html").read_text()
