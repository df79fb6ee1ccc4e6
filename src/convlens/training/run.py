"""Running an experiment: trained by an engine, judged once on its test set."""

import math
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from convlens import data
from convlens.base import files
from convlens.base.errors import DivergedError
from convlens.base.progress import Progress
from convlens.classify.evaluation import Evaluation
from convlens.classify.views import Views
from convlens.runs import RunFolder, RunRecord, keep_trained
from convlens.training.callbacks.average import Averages
from convlens.training.callbacks.board import Board
from convlens.training.callbacks.checkpoint import Checkpoints, Times, restore
from convlens.training.callbacks.display import Display, StepLines
from convlens.training.callbacks.layers import Layers
from convlens.training.callbacks.metrics import MetricsFile, curve_within_epochs
from convlens.training.callbacks.stopping import EarlyStopping, LowerOnPlateau, SaveAndLeave
from convlens.training.clock import Clock
from convlens.training.engines import engine_of, test_loader, threads_of
from convlens.training.events import Listener
from convlens.training.experiment import Experiment
from convlens.training.loop import Trainer
from convlens.training.plan import Plan
from convlens.training.processes.judging import judge_together
from convlens.training.processes.world import ALONE, World
from convlens.training.stop import Stop
from convlens.training.torch_engine import TorchEngine

if TYPE_CHECKING:
    from convlens.training.fine_tuning import TransferEngine
    from convlens.training.head_engine import HeadEngine
    from convlens.training.numpy_engine import NumpyEngine
    from convlens.training.processes.engines import Ending


@dataclass
class Finished:
    """A run that has been trained and judged once on its test set."""

    folder: RunFolder
    record: RunRecord
    module: nn.Module
    evaluation: Evaluation
    splits: data.Splits


def run(
    experiment: Experiment,
    folder: RunFolder,
    *,
    listeners: Sequence[Listener] = (),
    tensorboard: bool = False,
    log_steps: int | None = None,
    quiet: bool = True,
    resume: bool = False,
    started: float | None = None,
    changed: Sequence[str] = (),
    first: Sequence[Listener] = (),
    world: World = ALONE,
    fast: bool = False,
) -> Finished:
    """Trains an experiment in a folder, from its checkpoint if there is one, and judges it once on its test set.

    Args:
        listeners: are told of it besides those that every run has.
        log_steps: a line of progress after so many steps.
        resume: whether it was asked to go on.
        started: when the work began, as `time.perf_counter` tells it.
        changed: what of the machine is not as when the run began, in words.
        first: listeners that may change the course of the run, told before all others.
        world, fast: the processes that train it together, and whether rounding may differ; see `processes`.
    """
    plan, notes = experiment.plan, experiment.notes
    epochs = plan.recipe.epochs_for(len(experiment.splits.train))
    with threads_of(plan.engine), Stop() as stop:
        engine = engine_of(experiment, quiet, world=world, fast=fast)
        clock = Clock(
            folder, experiment.record, started=started or time.perf_counter(), changed=changed, world=world, fast=fast
        )
        title = _title(experiment, epochs, world, fast)
        with Progress(title, epochs=epochs, steps_per_epoch=engine.steps_per_epoch, quiet=quiet) as progress:
            for note in notes:
                progress.note(note)
            if isinstance(engine, TorchEngine):
                engine.on_note = progress.note
            shown: list[Listener] = []
            if world.leads:
                sample = experiment.splits.train.pixels[:64]
                shown = [
                    Layers(experiment, progress.note),
                    Display(progress),
                    *([StepLines(progress, log_steps)] if log_steps else []),
                    *([Board(folder, experiment.record.recipe, sample)] if tensorboard else []),
                    *listeners,
                ]
            together, signals = _together(engine, stop, world)
            trainer = Trainer(
                engine, recipe=plan.recipe, epochs=epochs, folder=folder, clock=clock,
                fits=plan.recipe.fits_for(len(experiment.splits.train)),
                listeners=[
                    *first,
                    *_changing(experiment, engine, world),
                    *shown,
                    *together,
                    MetricsFile(folder),
                    Times(clock),
                    SaveAndLeave(signals, _resume_command(plan, folder)),
                    Checkpoints(folder, plan.recipe.checkpoint_seconds),
                ],
            )  # fmt: skip
            if folder.holds_checkpoint():
                restore(trainer, folder)
            elif resume:
                progress.note("nothing had been saved yet: starting from the beginning")
            clock.keep()
            keep_trained(folder, [experiment.splits.train.fingerprints(), experiment.splits.val.fingerprints()])
            with clock.training():
                trainer.fit()
        return _judge(experiment, folder, trainer, engine, world)


def _title(experiment: Experiment, epochs: int, world: World, fast: bool) -> str:
    plan, images = experiment.plan, len(experiment.splits.train)
    device = "NumPy" if plan.engine == "numpy" else f"{plan.numeric.device}, {plan.numeric.dtype}"
    name = plan.network.rpartition(":")[2]
    if world.size > 1:
        device += f", {world.size} processes" + (" (fast)" if fast else f" ({plan.recipe.shards} shards)")
    return f"{name} on {experiment.record.data.name}: {images:,} images, {epochs} epoch{'s'[: epochs != 1]}, {device}"


def _together(
    engine: "TorchEngine | NumpyEngine | HeadEngine | TransferEngine", stop: Stop, world: World
) -> tuple[list[Listener], "Stop | Ending"]:
    """What several processes need to end together, and where the signals are that all of them know of."""
    if world.size == 1:
        return [], stop
    from convlens.training.processes.engines import SharedEngine  # only where it is asked for
    from convlens.training.processes.listeners import EndTogether

    assert isinstance(engine, SharedEngine)
    engine.ending.stop = stop
    return [EndTogether(engine.ending)], engine.ending


def _changing(
    experiment: Experiment, engine: "TorchEngine | NumpyEngine | HeadEngine | TransferEngine", world: World
) -> list[Listener]:
    """The listeners that change weights, records or the course of the run: they are told first."""
    recipe = experiment.plan.recipe
    found = curve_within_epochs(recipe.epochs_for(len(experiment.splits.train)), engine.steps_per_epoch)
    if isinstance(engine, TorchEngine) and engine.averages:
        found.append(Averages(engine.module, engine.averages))
    if recipe.schedule.name == "plateau":
        found.append(LowerOnPlateau())
    if recipe.early_stopping is not None:
        found.append(EarlyStopping(recipe.early_stopping))
    if world.size > 1:
        from convlens.training.processes.listeners import Waiting  # only where it is asked for

        found.append(Waiting(world))
    return found


def _judge(
    experiment: Experiment,
    folder: RunFolder,
    trainer: Trainer,
    engine: "TorchEngine | NumpyEngine | HeadEngine | TransferEngine",
    world: World,
) -> Finished:
    """The one use of the test set: the kept weights, in float32."""
    recipe, test, module = experiment.plan.recipe, experiment.splits.test, experiment.module
    arrays, _ = folder.read_weights()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    by_views: dict[str, Any] = {}
    if not isinstance(engine, TorchEngine):
        engine.load_weights(arrays)
        judged = engine.evaluate(test)
    else:
        loader = test_loader(experiment)
        judged = judge_together(module, loader, test.classes, world)
        if recipe.views != "none":
            several = judge_together(Views(module, recipe.views, len(test.classes)), loader, test.classes, world)
            by_views = {"test_views": {"accuracy": several.accuracy, "loss": several.loss, "views": recipe.views}}
    if not math.isfinite(judged.loss):  # finite weights may be so large that nothing else is
        raise DivergedError(
            f"training diverged: the test loss is not finite with the weights in {folder.path}; try a lower "
            f"learning rate, as in --set optimizer.lr={recipe.optimizer.lr / 10:g}"
        )
    record = trainer.clock.stamped()
    if world.leads:
        digest = files.sha256(folder.weights)  # the weights are on the disk and change no more
        results = _results(trainer, judged, record) | by_views
        record = record.model_copy(update={"results": results, "weights_sha256": digest})
        folder.write_record(record)
    record = RunRecord.model_validate(world.share(record.model_dump(mode="json"))) if world.size > 1 else record
    return Finished(folder, record, module, judged, experiment.splits)


def _results(trainer: Trainer, judged: Evaluation, record: RunRecord) -> dict[str, Any]:
    """What `run.json` says of a finished run."""
    rates = [line["images_per_second"] for line in trainer.records if line.get("images_per_second")]
    best = trainer.best
    return {
        "epochs": trainer.epoch,
        "best_epoch": best["epoch"] if best else trainer.epoch,
        "val": {"accuracy": best["accuracy"], "loss": best["loss"]} if best else None,
        "test": {"accuracy": judged.accuracy, "loss": judged.loss, "n": judged.n, "macro_f1": judged.macro_f1},
        "seconds": {
            "total": round(sum(process.total for process in record.processes), 3),
            "train": round(sum(process.train for process in record.processes), 3),
        },
        "images_per_second": round(float(np.median(rates)), 1) if rates else None,
        "stopped": trainer.stopped.model_dump() if trainer.stopped else None,
    }


def _resume_command(plan: Plan, folder: RunFolder) -> str:
    model = [plan.network] if plan.source == "file" else []
    return shlex.join(["convlens", "train", *model, "--resume", "--out", str(folder.path)])
