"""The loop alone, with an engine that does no arithmetic: what decides the course of a run, step by step."""

import json
import math
import time

import numpy as np
import pytest

from convlens.base.errors import DivergedError, Interrupted
from convlens.base.progress import Progress
from convlens.classify.evaluation import from_logits
from convlens.data.preprocess import Preprocess
from convlens.runs import DataRecord, ModelRecord, RunFolder, RunRecord, Stopped
from convlens.training.callbacks.checkpoint import Checkpoints, Times, restore
from convlens.training.callbacks.display import Display
from convlens.training.callbacks.metrics import MetricsFile
from convlens.training.callbacks.stopping import EarlyStopping, LowerOnPlateau, SaveAndLeave
from convlens.training.clock import Clock
from convlens.training.events import Listener, overriding
from convlens.training.loop import Trainer
from convlens.training.recipe import Recipe
from convlens.training.stop import Stop

STEPS, LABELS = 3, np.arange(8) % 2


class Engine:
    """Its one weight counts the steps; validation finds `right` of 8 images right, a number per epoch."""

    loss_is_at_hand = True
    steps_per_epoch = STEPS

    def __init__(self, right=(), losses=()):
        self.weight, self.right, self.losses, self.done = np.zeros(1), list(right), dict(losses), []
        self.reset_totals()

    def batches(self, epoch, start):
        return iter([("x", "yy")] * (STEPS - start))

    def step(self, x, y, *, epoch, step, factor):
        self.done.append((epoch, step, factor))
        self.weight = self.weight + 1
        loss = self.losses.get((epoch, step), 1.0)
        self._totals = {"loss": self._totals["loss"] + 2 * loss, "correct": 1, "seen": self._totals["seen"] + 2}
        return loss

    def totals(self):
        return dict(self._totals)

    def reset_totals(self):
        self._totals = {"loss": 0.0, "correct": 0, "seen": 0}

    def validate(self):
        if not self.right:
            return None
        right = self.right[int(self.weight.item()) // STEPS - 1]
        if math.isnan(right):
            return from_logits(np.full((8, 2), np.nan), LABELS, ("a", "b"))
        said = np.where(np.arange(8) < right, LABELS, 1 - LABELS)
        return from_logits(np.eye(2)[said] * 5, LABELS, ("a", "b"))

    def weights(self):
        return {"weight": self.weight.copy()}

    def parameters(self):
        return iter([("weight", self.weight)])

    def state(self):
        return {"model.weight": self.weight.copy()}, {"totals": self._totals}

    def load_state(self, arrays, plain):
        self.weight, self._totals = arrays["model.weight"], dict(plain["totals"])


def trainer(tmp_path, engine, *, epochs=4, stop=None, more=(), **recipe):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir(exist_ok=True)
    settings = Recipe.model_validate({"schedule": {"name": "constant", "warmup": 0.0}, **recipe})
    record = RunRecord(
        created="2025-01-02T03:04:05+00:00",
        model=ModelRecord(source="live", name="fake", input=[1, 8, 8], parameters=1),
        classes=["a", "b"], preprocess=Preprocess((8, 8), 1).to_dict(), recipe=settings.model_dump(mode="json"), seed=0,
        numeric={"device": "cpu", "dtype": "float32", "channels_last": False, "threads": 1},
        data=DataRecord(source="arrays", name="fake", fingerprint="0", counts={"train": 6}, split=""),
        versions={},
    )  # fmt: skip
    clock = Clock(folder, record, started=time.perf_counter())
    progress = Progress("fake", epochs=epochs, steps_per_epoch=STEPS, quiet=True)
    listeners = [
        *([LowerOnPlateau()] if settings.schedule.name == "plateau" else []),
        *([EarlyStopping(settings.early_stopping)] if settings.early_stopping else []),
        Display(progress),
        *more,
        MetricsFile(folder),
        Times(clock),
        SaveAndLeave(stop or Stop(), "convlens train --resume"),
        Checkpoints(folder, settings.checkpoint_seconds),
    ]
    return Trainer(engine, recipe=settings, epochs=epochs, folder=folder, clock=clock, listeners=listeners)


def kept(tmp_path):
    arrays, _ = RunFolder(tmp_path / "run").read_weights()
    return arrays["weight"].item()


def test_every_step_of_every_epoch_is_done_once_and_in_order(tmp_path):
    engine = Engine()
    trainer(tmp_path, engine, val_fraction=0.0).fit()
    assert engine.done == [(epoch, step, 1.0) for epoch in range(4) for step in range(STEPS)]
    assert kept(tmp_path) == 12


def test_the_weights_of_the_best_epoch_are_kept_the_first_of_equals(tmp_path):
    one = trainer(tmp_path, Engine(right=[3, 7, 7, 5]))
    one.fit()
    assert one.best is not None
    assert (one.best["epoch"], one.best["accuracy"]) == (2, 7 / 8)
    assert kept(tmp_path) == 2 * STEPS


def test_patience_counts_epochs_without_a_better_result(tmp_path):
    engine = Engine(right=[5, 6, 6, 4, 8, 8])
    one = trainer(tmp_path, engine, epochs=6, early_stopping=2)
    one.fit()
    assert engine.done[-1][:2] == (3, STEPS - 1)  # two epochs after the second
    assert one.stopped is not None
    assert kept(tmp_path) == 2 * STEPS


def test_a_plateau_lowers_the_rate_of_the_epochs_that_follow(tmp_path):
    engine = Engine(right=[6, 6, 6, 6, 6])
    trainer(tmp_path, engine, epochs=5, schedule={"name": "plateau", "warmup": 0.0, "gamma": 0.1, "patience": 2}).fit()
    rates = [factor for _, step, factor in engine.done if step == 0]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1])  # two epochs are tolerated, the third lowers it


@pytest.mark.parametrize("at", [(0, 0), (1, 2), (3, 1)])
def test_a_loss_that_is_no_number_ends_the_run_at_that_step(tmp_path, at):
    engine = Engine(right=[4, 5, 6, 7], losses={at: math.nan})
    with pytest.raises(DivergedError, match=rf"the loss is not finite in epoch {at[0] + 1}, step {at[1] + 1}"):
        trainer(tmp_path, engine).fit()
    assert engine.done[-1][:2] == at
    if at[0]:
        assert kept(tmp_path) == at[0] * STEPS  # of the best epoch before


def test_a_validation_loss_that_is_no_number_ends_the_run_and_keeps_the_best_before(tmp_path):
    with pytest.raises(DivergedError, match="the validation loss is not finite in epoch 3"):
        trainer(tmp_path, Engine(right=[4, 5, math.nan, 7])).fit()
    assert kept(tmp_path) == 2 * STEPS


@pytest.mark.parametrize("after", range(1, 4 * STEPS))
def test_a_run_that_is_stopped_after_any_step_ends_as_if_it_had_not_been(tmp_path, after):
    stop = Stop()

    class Stopping(Engine):
        def step(self, *args, **more):
            if len(self.done) == after - 1:
                stop.signum = 15
            return super().step(*args, **more)

    right = [4, 7, 5, 6]
    first = Stopping(right)
    with pytest.raises(Interrupted):
        trainer(tmp_path, first, stop=stop).fit()
    second = Engine(right)
    resumed = trainer(tmp_path, second)
    restore(resumed, resumed.folder)
    resumed.fit()
    assert first.done + second.done == [(epoch, step, 1.0) for epoch in range(4) for step in range(STEPS)]
    assert (second.weight.item(), kept(tmp_path)) == (12, 2 * STEPS)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [line["train_loss"] for line in lines] == [1, 1, 1, 1]


class Diary(Listener):
    """Notes each event and where the run stood."""

    def __init__(self):
        self.lines = []

    def start(self, run):
        self.lines.append("start")

    def step(self, run, images, loss):
        self.lines.append(f"step {run.epoch}.{run.step} {images} {loss}")

    def epoch(self, run, record):
        self.lines.append(f"epoch {run.epoch}.{run.step} {record['epoch']}")

    def save(self, run, state):
        self.lines.append(f"save {sorted(state[0])}")

    def end(self, run):
        self.lines.append("end")

    def close(self, run):
        self.lines.append("close")


def test_a_listener_is_told_of_each_event_in_order(tmp_path):
    diary = Diary()
    trainer(tmp_path, Engine(right=[3, 7]), epochs=2, more=[diary]).fit()
    steps = [[f"step {epoch}.{step} 2 1.0" for step in (1, 2, 3)] for epoch in (0, 1)]
    assert diary.lines == [
        "start", *steps[0], "epoch 1.0 1", *steps[1], "epoch 2.0 2", "end", "save ['model.weight']", "close",
    ]  # fmt: skip


def test_after_an_error_a_listener_lets_go_and_hears_of_no_end(tmp_path):
    diary = Diary()
    with pytest.raises(DivergedError):
        trainer(tmp_path, Engine(losses={(0, 1): math.nan}), more=[diary]).fit()
    assert diary.lines == ["start", "step 0.1 2 1.0", "close"]


def test_a_listener_may_stop_a_run_and_the_run_is_saved(tmp_path):
    class Enough(Listener):
        def epoch(self, run, record):
            if run.epoch == 2:
                run.stopped = Stopped(epoch=2, planned=run.epochs, best_epoch=1, patience=1)

    engine = Engine(right=[3, 7, 7, 5])
    trainer(tmp_path, engine, more=[Enough()]).fit()
    assert engine.done[-1][:2] == (1, STEPS - 1)
    assert RunFolder(tmp_path / "run").last.exists()


def test_only_listeners_with_a_method_of_their_own_are_called():
    silent, diary = Listener(), Diary()
    assert overriding([silent, diary], "step") == [diary.step]
    assert overriding([silent], "end") == []
