"""A run from beginning to end: prepared, trained by an engine, judged once on its test set."""

import contextlib
import math
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from convlens import data
from convlens.base import files
from convlens.base.errors import DivergedError, InputError
from convlens.base.progress import Progress, say
from convlens.classify.caller import undisturbed
from convlens.classify.evaluation import evaluate
from convlens.classify.views import Views
from convlens.data.augment.augmenter import Augmenter
from convlens.data.loader import Loader
from convlens.runs import RunFolder, keep_trained
from convlens.training import groups
from convlens.training.callbacks.average import Averages
from convlens.training.callbacks.board import Board
from convlens.training.callbacks.checkpoint import Checkpoints, Times, restore
from convlens.training.callbacks.display import Display
from convlens.training.callbacks.metrics import MetricsFile, curve_within_epochs
from convlens.training.callbacks.stopping import EarlyStopping, LowerOnPlateau, SaveAndLeave
from convlens.training.clock import Clock
from convlens.training.events import Listener
from convlens.training.handed_over import given_back
from convlens.training.loop import Trainer
from convlens.training.place import open_folder, reserved
from convlens.training.prepare import prepare, refuse_other_words
from convlens.training.recipe import Recipe
from convlens.training.request import Finished, Job, Request
from convlens.training.stop import Stop
from convlens.training.torch_engine import TorchEngine

if TYPE_CHECKING:
    from convlens.training.numpy_engine import NumpyEngine


def run(request: Request) -> Finished | RunFolder:
    """Trains what was asked for. A resume of a finished run changes nothing and returns its folder.

    Raises:
        InputError: anything about the request, the data or the disk that the user can mend.
        DivergedError, Interrupted: see `loop.Trainer.fit`.
    """
    own = request.model if isinstance(request.model, nn.Module) else None
    with undisturbed(), given_back(own) if own is not None else contextlib.nullcontext():
        return _run(request)


def _run(request: Request) -> Finished | RunFolder:
    folder, stored = open_folder(request)
    if stored is not None and stored.results is not None and folder.report.exists():  # the report comes last
        for note in refuse_other_words(request, folder, stored):
            say(note, quiet=request.quiet)
        return folder
    with reserved(request) as (folder, stored):
        job = prepare(request, folder, stored)
        with _threads_of(job.record.engine):
            return _train(request, job, going_on=stored is not None and folder.last.exists())


def _train(request: Request, job: Job, going_on: bool) -> Finished:
    epochs = job.recipe.epochs_for(len(job.splits.train))
    engine = _numpy_engine(job) if job.record.engine == "numpy" else _torch_engine(job)
    name, images = job.record.model.name.rpartition(":")[2], len(job.splits.train)
    device = "NumPy" if job.record.engine == "numpy" else f"{job.numeric.device}, {job.numeric.dtype}"
    title = f"{name} on {job.record.data.name}: {images:,} images, {epochs} epoch{'s'[: epochs != 1]}, {device}"
    clock = Clock(job.folder, job.record, started=request.started, changed=job.changed)
    with (
        Stop() as stop,
        Progress(title, epochs=epochs, steps_per_epoch=engine.steps_per_epoch, quiet=request.quiet) as progress,
    ):
        for note in job.notes:
            progress.note(note)
        if isinstance(engine, TorchEngine):
            engine.on_note = progress.note
        trainer = Trainer(
            engine, recipe=job.recipe, epochs=epochs, folder=job.folder, clock=clock,
            listeners=_listeners(request, job, engine, clock, progress, stop),
        )  # fmt: skip
        if going_on:
            restore(trainer, job.folder)
        elif request.resume:
            progress.note("nothing had been saved yet: starting from the beginning")
        clock.keep()
        keep_trained(job.folder, [job.splits.train.fingerprints(), job.splits.val.fingerprints()])
        with clock.training():
            trainer.fit()
    return _judge(job, trainer, engine)


def _listeners(
    request: Request, job: Job, engine: "TorchEngine | NumpyEngine", clock: Clock, progress: Progress, stop: Stop
) -> list[Listener]:
    """Who is told of the run, in order: what changes weights and records first, what saves last."""
    recipe, folder = job.recipe, job.folder
    listeners = curve_within_epochs(recipe.epochs_for(len(job.splits.train)), engine.steps_per_epoch)
    if isinstance(engine, TorchEngine) and engine.averages:
        listeners.append(Averages(engine.module, engine.averages))
    if recipe.schedule.name == "plateau":
        listeners.append(LowerOnPlateau())
    if recipe.early_stopping is not None:
        listeners.append(EarlyStopping(recipe.early_stopping))
    listeners.append(Display(progress))
    if request.tensorboard:
        listeners.append(Board(folder, job.record.recipe, job.splits.train.pixels[:64]))
    return [
        *listeners,
        *request.listeners,
        MetricsFile(folder),
        Times(clock),
        SaveAndLeave(stop, _resume_command(job)),
        Checkpoints(folder, recipe.checkpoint_seconds),
    ]


def _torch_engine(job: Job) -> TorchEngine:
    recipe, numeric, splits, seed = job.recipe, job.numeric, job.splits, job.record.seed
    job.module.to(numeric.device)
    if numeric.channels_last:
        job.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - a documented overload
    shared: dict[str, Any] = {
        "device": numeric.device, "channels_last": numeric.channels_last, "dtype": numeric.torch_dtype,
    }  # fmt: skip
    augmentation = recipe.augment.resolve(*splits.train.shape)
    train = Loader(
        splits.train, job.preprocess, batch_size=recipe.batch_size_for(len(splits.train)), seed=seed,
        augmenter=Augmenter(augmentation, seed=seed) if augmentation.active else None,
        drop_last=True, **shared,
    )  # fmt: skip
    val = None
    if len(splits.val):
        val = Loader(splits.val, job.preprocess, batch_size=recipe.eval_batch_size, shuffle=False, **shared)
    output_weights: set[str] = set()
    if recipe.optimizer.name == "muon":
        few = torch.from_numpy(job.preprocess.normalize(splits.train.pixels[:2]))
        output_weights = groups.output_weights(job.module, few, len(splits.train.classes))
    return TorchEngine(
        job.module, train, val, classes=splits.train.classes, recipe=recipe, numeric=numeric, seed=seed,
        class_weights=_class_weights(recipe, splits.train), output_weights=output_weights,
    )  # fmt: skip


def _threads_of(engine: str) -> contextlib.AbstractContextManager[None]:
    if engine != "numpy":
        return contextlib.nullcontext()  # PyTorch's own are limited already
    from convlens.training.numpy_engine import limited_products

    return limited_products()


def _numpy_engine(job: Job) -> "NumpyEngine":
    from convlens.training.numpy_engine import NumpyEngine, unsupported  # only where it is asked for: 70 ms

    left_out = unsupported(job.recipe, job.splits.train.shape)
    if left_out:
        job.notes.append(f"the NumPy engine trains without {', '.join(left_out)}")
    return NumpyEngine(job.module, job.splits, job.preprocess, recipe=job.recipe, seed=job.record.seed)


def _judge(job: Job, trainer: Trainer, engine: "TorchEngine | NumpyEngine") -> Finished:
    """The one use of the test set: the kept weights, in float32."""
    views = None
    arrays, _ = job.folder.read_weights()
    job.module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    if not isinstance(engine, TorchEngine):
        engine.load_weights(arrays)
        judged = engine.evaluate(job.splits.test)
    else:
        test = Loader(
            job.splits.test, job.preprocess, batch_size=job.recipe.eval_batch_size, shuffle=False,
            device=job.numeric.device, channels_last=job.numeric.channels_last,
        )  # fmt: skip
        judged = evaluate(job.module, test.epoch(0), job.splits.test.classes)
        if job.recipe.views != "none":
            several = Views(job.module, job.recipe.views, len(job.splits.test.classes))
            by_views = evaluate(several, test.epoch(0), job.splits.test.classes)
            views = {"accuracy": by_views.accuracy, "loss": by_views.loss, "views": job.recipe.views}
    if not math.isfinite(judged.loss):  # finite weights may be so large that nothing else is
        raise DivergedError(
            f"training diverged: the test loss is not finite with the weights in {job.folder.path}; try a lower "
            f"learning rate, as in --set optimizer.lr={job.recipe.optimizer.lr / 10:g}"
        )
    rates = [record["images_per_second"] for record in trainer.records if record.get("images_per_second")]
    best = trainer.best
    record = trainer.clock.stamped()
    results = {
        "epochs": trainer.epoch,
        "best_epoch": best["epoch"] if best else trainer.epoch,
        "val": {"accuracy": best["accuracy"], "loss": best["loss"]} if best else None,
        "test": {"accuracy": judged.accuracy, "loss": judged.loss, "n": judged.n},
        **({"test_views": views} if views else {}),
        "seconds": {
            "total": round(sum(process.total for process in record.processes), 3),
            "train": round(sum(process.train for process in record.processes), 3),
        },
        "images_per_second": round(float(np.median(rates)), 1) if rates else None,
        "stopped": trainer.stopped.model_dump() if trainer.stopped else None,
    }
    digest = files.sha256(job.folder.weights)  # the weights are on the disk and change no more
    record = record.model_copy(update={"results": results, "weights_sha256": digest})
    job.folder.write_record(record)
    return Finished(job.folder, record, job.module, judged, job.splits.test)


def _class_weights(recipe: Recipe, train: data.Images) -> np.ndarray | None:
    if recipe.class_weights == "none":
        return None
    if recipe.class_weights == "balanced":
        return len(train) / (len(train.classes) * np.maximum(train.counts(), 1))
    if len(recipe.class_weights) != len(train.classes):
        raise InputError(f"class_weights: {len(recipe.class_weights)} numbers for {len(train.classes)} classes")
    return np.asarray(recipe.class_weights)


def _resume_command(job: Job) -> str:
    model = [job.record.model.name] if job.record.model.source == "file" else []
    return shlex.join(["convlens", "train", *model, "--resume", "--out", str(job.folder.path)])
