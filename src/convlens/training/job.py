"""From a request to a trained run folder: data, network, recipe and settings are settled, checked and recorded."""

import contextlib
import datetime
import json
import platform
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import convlens
from convlens import data, models
from convlens.base import files
from convlens.base.errors import InputError
from convlens.base.progress import Progress, bar
from convlens.base.seeds import derive
from convlens.data.augment import Augmentation, Augmenter
from convlens.data.loader import Loader
from convlens.inspection.evaluation import Evaluation, evaluate
from convlens.models.build import build, count_parameters, is_file_reference
from convlens.runs import DataRecord, ModelRecord, RunFolder, RunRecord
from convlens.training import recipe as recipes
from convlens.training import settings
from convlens.training.recipe import Recipe
from convlens.training.stop import Stop
from convlens.training.tensorboard import TensorBoard
from convlens.training.trainer import Trainer

DEFAULT_MODEL, DEFAULT_DATA, DEFAULT_SEED = "lenet5", "digits", 0


@dataclass
class Request:
    """What was asked for. None means not given: then the run's own value (on a resume) or the default holds."""

    model: str | nn.Module | None = None
    data: Any = None
    recipe: str | dict[str, Any] | Recipe | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    size: int | tuple[int, int] | None = None
    settings: tuple[str, ...] = ()
    out: Path | str | None = None
    resume: bool = False
    weights: Path | str | None = None
    device: str | None = None
    precision: str | None = None
    deterministic: bool = False
    tensorboard: bool = True
    quiet: bool = False
    started: float = field(default_factory=time.perf_counter)


@dataclass
class Job:
    """A request made definite."""

    folder: RunFolder
    record: RunRecord
    recipe: Recipe
    numeric: settings.Numeric
    module: nn.Module
    preprocess: data.Preprocess
    splits: data.Splits
    notes: list[str]


@dataclass
class Finished:
    """A run that has been trained and judged once on its test set."""

    folder: RunFolder
    record: RunRecord
    module: nn.Module
    evaluation: Evaluation
    test: data.Images


def run(request: Request) -> Finished | RunFolder:
    """Trains what was asked for. A resume of a finished run changes nothing and returns its folder.

    Raises:
        InputError: anything about the request, the data or the disk that the user can mend.
        DivergedError, Interrupted: see `Trainer.fit`.
    """
    folder, stored = _open_folder(request)
    if stored is not None and stored.results is not None:
        _refuse_other_words(request, stored)
        return folder
    files.make_folder(folder.path)
    with folder.lock():
        files.remove_debris(folder.path)
        job = _prepare(request, folder, stored)
        return _train(request, job, going_on=stored is not None and folder.last.exists())


# ---- the folder


def _open_folder(request: Request) -> tuple[RunFolder, RunRecord | None]:
    if request.out is None:
        if request.resume:
            raise InputError("--resume needs --out DIR, the folder of the run to go on with")
        return RunFolder(fresh_path(request.model, request.data)), None
    folder = RunFolder(request.out)
    if not folder.holds_a_run():
        if folder.path.is_dir() and any(p.name != ".lock" for p in folder.path.iterdir()):
            raise InputError(f"--out {folder.path} is a folder with other things in it; choose a new or an empty one")
        if folder.path.exists() and not folder.path.is_dir():
            raise InputError(f"--out {folder.path} is a file; choose a folder")
        return folder, None
    if not request.resume:
        raise InputError(f"--out {folder.path} already holds a run; continue it with --resume or choose another folder")
    return folder, folder.read_record()


def fresh_path(model: str | nn.Module | None, source: Any) -> Path:
    """`runs/<model>-<data>-<time>`, with a number behind it where that exists already."""
    name = type(model).__name__ if isinstance(model, nn.Module) else (model or DEFAULT_MODEL).rpartition(":")[2]
    if isinstance(source, (str, Path)):
        images = Path(source).resolve().name.split(".")[0] or "data"
    else:
        images = DEFAULT_DATA if source is None else "arrays"
    words = [name, images, datetime.datetime.now().strftime("%Y%m%d-%H%M%S")]
    base = Path("runs") / "-".join("".join(c if c.isalnum() or c in "._-" else "-" for c in word) for word in words)
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path


# ---- what to train


def _prepare(request: Request, folder: RunFolder, stored: RunRecord | None) -> Job:
    reference = _model_reference(request, stored)
    seed = request.seed if request.seed is not None else stored.seed if stored else DEFAULT_SEED
    own = models.get(reference) if isinstance(reference, str) and not is_file_reference(reference) else None
    recipe = _recipe(request, stored, own)
    numeric, notes = _numeric(request, recipe, stored)
    source = data.find(_data_reference(request, stored))
    preprocess = _preprocess(request, source, own, stored)
    with bar(f"reading {source.name}", None, request.quiet, unit="images") as advance:
        parts = source.read(preprocess, _as_total(advance))
    notes += [f"skipped {path}: {why}" for path, why in source.skipped[:20]]
    if len(source.skipped) > 20:
        notes.append(f"skipped {len(source.skipped) - 20} more images that could not be read")
    notes += source.notes
    splits = data.split(parts, seed=seed, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction)
    preprocess = preprocess.fitted(splits.train.pixels)
    module = _module(reference, recipe, splits.train, seed)
    if request.weights is not None:
        notes += _load_weights(module, request.weights)
    record = _record(request, reference, source, module, recipe, preprocess, splits, seed, numeric)
    if stored is not None:
        _refuse_difference(record, stored)
        record = stored
    else:
        folder.write_record(record)
    return Job(folder, record, recipe, numeric, module, preprocess, splits, notes)


def _model_reference(request: Request, stored: RunRecord | None) -> str | nn.Module:
    if request.model is not None:
        return request.model
    if stored is None:
        return DEFAULT_MODEL
    if stored.model.source != "zoo":
        where = "on the command line" if stored.model.source == "file" else "to cl.train"
        raise InputError(
            f"the run's network is {stored.model.name!r}, which is code of its author's; to go on, give it again {where}"
        )
    return stored.model.name


def _data_reference(request: Request, stored: RunRecord | None) -> Any:
    if request.data is not None:
        return request.data
    return stored.data.source if stored else DEFAULT_DATA


def _recipe(request: Request, stored: RunRecord | None, own: models.ModelEntry | None) -> Recipe:
    asked = request.recipe
    if asked is None and stored is not None:
        asked = recipes.parse(stored.recipe, "the recipe in run.json")
    return recipes.load(
        asked,
        model=own.name if own else None,
        family=own.family if own else None,
        settings=request.settings,
        epochs=request.epochs,
        batch_size=request.batch_size,
        precision=request.precision,
    )


def _numeric(request: Request, recipe: Recipe, stored: RunRecord | None) -> tuple[settings.Numeric, list[str]]:
    chosen = settings.settle(request.device or "auto", recipe.precision, deterministic=request.deterministic)
    notes: list[str] = []
    if stored is not None:
        before = settings.Numeric(**stored.numeric)
        possible = request.device in (None, before.device) and settings.available(before.device)
        if possible:
            chosen = before
        else:
            notes.append(
                f"warning: the run began on {before.device} and goes on on {chosen.device}: "
                "the result will not be bit-identical"
            )
    problems = settings.apply(chosen)
    versions = stored.versions if stored else {}
    problems += [f"{k} {v} instead of {versions[k]}" for k, v in _versions().items() if versions.get(k, v) != v]
    if problems:
        notes.append(f"warning: {'; '.join(problems)}: the result will not be bit-identical")
    return chosen, notes


def _preprocess(
    request: Request, source: data.Source, own: models.ModelEntry | None, stored: RunRecord | None
) -> data.Preprocess:
    """Input size and channels: what was asked for, else the images' own where they are small and of one size."""
    if request.size is None and stored is not None:
        before = data.Preprocess.from_dict(stored.preprocess)
        return data.Preprocess(before.size, before.channels, interpolation=before.interpolation)
    channels = source.native[0] if source.native else 3
    if request.size is not None:
        size = (request.size, request.size) if isinstance(request.size, int) else request.size
        return data.Preprocess(tuple(size), channels)
    default = own.input[1:] if own is not None and len(own.input) == 3 else (28, 28)
    native = source.native[1:] if source.native else None
    if native is not None and min(native) <= 64:
        size = native if all(n >= d for n, d in zip(native, default, strict=True)) else default
    else:  # photographs: at least 64 pixels a side
        size = (max(64, default[0]), max(64, default[1]))
    return data.Preprocess(size, channels)


def _module(reference: str | nn.Module, recipe: Recipe, train: data.Images, seed: int) -> nn.Module:
    if isinstance(reference, nn.Module):
        return reference
    torch.manual_seed(derive(seed, "initialisation"))
    channels, height, width = train.shape
    return build(
        reference,
        num_classes=len(train.classes),
        in_channels=channels,
        image_size=(height, width),
        **recipe.model,
    )


def _load_weights(module: nn.Module, path: Path | str) -> list[str]:
    from convlens.models.weights import load_weights

    return [str(load_weights(module, path))]


def _record(
    request: Request,
    reference: str | nn.Module,
    source: data.Source,
    module: nn.Module,
    recipe: Recipe,
    preprocess: data.Preprocess,
    splits: data.Splits,
    seed: int,
    numeric: settings.Numeric,
) -> RunRecord:
    if isinstance(reference, nn.Module):
        kind, name = "live", f"{type(reference).__module__}.{type(reference).__qualname__}"
    else:
        kind, name = ("file" if is_file_reference(reference) else "zoo"), reference
    asked = request.data if request.data is not None else DEFAULT_DATA
    where = asked if isinstance(asked, (str, Path)) else None
    if where is not None:
        where = str(Path(where).resolve()) if str(where) not in data.names() else str(where)
    fingerprint = "-".join(part.fingerprint()[:16] for part in splits)
    counts = {part: len(images) for part, images in splits._asdict().items()}
    return RunRecord(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=ModelRecord(
            source=kind, name=name, arguments=dict(recipe.model), input=list(splits.train.shape),
            parameters=count_parameters(module),
        ),
        classes=list(splits.train.classes),
        preprocess=preprocess.to_dict(),
        recipe=recipe.model_dump(mode="json"),
        seed=seed,
        numeric=numeric.to_dict(),
        data=DataRecord(
            source=where or "arrays", name=source.name, fingerprint=fingerprint, counts=counts,
            split=_describe_split(recipe),
        ),
        versions=_versions(),
    )  # fmt: skip


def _describe_split(recipe: Recipe) -> str:
    if recipe.val_fraction == 0:
        return "trained on all training images for a fixed budget; the last weights are kept"
    return "best weights chosen on a validation part of the training images; the test part is used once, at the end"


def _versions() -> dict[str, str]:
    return {
        "convlens": convlens.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _as_total(advance: Any) -> Any:
    seen = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal seen
        advance(done - seen)
        seen = done

    return on_progress


# ---- refusing what does not fit


def _refuse_difference(new: RunRecord, stored: RunRecord) -> None:
    differences = []
    if (new.model.name, new.model.arguments) != (stored.model.name, stored.model.arguments):
        differences.append(f"network: the run has {stored.model.name}, you asked for {new.model.name}")
    if new.model.input != stored.model.input:
        differences.append(f"input size: the run has {stored.model.input}, you asked for {new.model.input}")
    if new.seed != stored.seed:
        differences.append(f"seed: the run has {stored.seed}, you asked for {new.seed}")
    differences += _recipe_differences(new.recipe, stored.recipe)
    if not differences and new.data.fingerprint != stored.data.fingerprint:
        differences.append(f"data: the images are not those that the run began with ({stored.data.name})")
    if not differences and new.model.parameters != stored.model.parameters:
        differences.append(f"network: {new.model.parameters} parameters instead of {stored.model.parameters}")
    if differences:
        raise InputError(f"cannot resume: {'; '.join(differences)}; start a new run with another --out")


def _recipe_differences(new: dict[str, Any], stored: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in {**stored, **new}:
        a, b = stored.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _recipe_differences(b, a, f"{prefix}{key}.")
        elif a != b and key != "checkpoint_seconds":  # how often to save does not change the outcome
            found.append(f"recipe: {prefix}{key} is {a!r} in the run, you asked for {b!r}")
    return found


def _refuse_other_words(request: Request, stored: RunRecord) -> None:
    """A finished run: compares what can be compared without reading the data."""
    differences = []
    if isinstance(request.model, str) and request.model != stored.model.name:
        differences.append(f"network: the run has {stored.model.name}, you asked for {request.model}")
    if request.seed not in (None, stored.seed):
        differences.append(f"seed: the run has {stored.seed}, you asked for {request.seed}")
    own = models.get(stored.model.name) if stored.model.source == "zoo" else None
    differences += _recipe_differences(_recipe(request, stored, own).model_dump(mode="json"), stored.recipe)
    if differences:
        raise InputError(f"the run is finished, and another was asked for: {'; '.join(differences)}; use another --out")


# ---- training and judging


def _train(request: Request, job: Job, going_on: bool) -> Finished:
    recipe, numeric, splits, seed = job.recipe, job.numeric, job.splits, job.record.seed
    memory_format = torch.channels_last if numeric.channels_last else torch.contiguous_format
    module = job.module.to(numeric.device, memory_format=memory_format)
    epochs = recipe.epochs_for(len(splits.train))
    shared: dict[str, Any] = {"device": numeric.device, "channels_last": numeric.channels_last}
    train = Loader(
        splits.train, job.preprocess, batch_size=min(recipe.batch_size, len(splits.train)), seed=seed,
        dtype=numeric.torch_dtype, augmenter=_augmenter(recipe, splits.train, seed),
        drop_last=len(splits.train) >= recipe.batch_size, **shared,
    )  # fmt: skip
    val = None
    if len(splits.val):
        val = Loader(
            splits.val,
            job.preprocess,
            batch_size=recipe.eval_batch_size,
            shuffle=False,
            dtype=numeric.torch_dtype,
            **shared,
        )
    name = job.record.model.name.rpartition(":")[2]
    title = f"{name} on {job.record.data.name}: {len(splits.train):,} images, {epochs} epochs, {numeric.device}"
    began = time.perf_counter()
    with Stop() as stop, Progress(title, epochs=epochs, steps_per_epoch=len(train), quiet=request.quiet) as progress:
        for note in job.notes:
            progress.note(note)
        trainer = Trainer(
            module, train, val, classes=splits.train.classes, recipe=recipe, epochs=epochs, numeric=numeric,
            seed=seed, folder=job.folder, progress=progress, stop=stop,
            class_weights=_class_weights(recipe, splits.train, numeric.device),
            resume_command=_resume_command(job),
        )  # fmt: skip
        if going_on:
            trainer.restore()
            progress.note(f"going on at epoch {trainer.epoch + 1}, step {trainer.step + 1}")
        elif request.resume:
            progress.note("nothing had been saved yet: starting from the beginning")
        with _tensorboard(request, job, trainer):
            trainer.fit()
    seconds_train = time.perf_counter() - began
    return _judge(request, job, trainer, module, seconds_train)


@contextlib.contextmanager
def _tensorboard(request: Request, job: Job, trainer: Trainer) -> Iterator[None]:
    if not request.tensorboard:
        yield
        return
    sample = job.splits.train.pixels[:64]
    recipe = json.dumps(job.record.recipe, indent=2)
    with TensorBoard(job.folder.events, first_epoch=trainer.epoch, recipe=recipe, images=sample) as board:
        trainer.on_epoch = lambda record: board.epoch(trainer.module, record)
        yield


def _judge(request: Request, job: Job, trainer: Trainer, module: nn.Module, seconds_train: float) -> Finished:
    arrays, _ = job.folder.read_weights()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    test = Loader(
        job.splits.test, job.preprocess, batch_size=job.recipe.eval_batch_size, shuffle=False,
        device=job.numeric.device, channels_last=job.numeric.channels_last,
    )  # fmt: skip
    judged = evaluate(module, test.epoch(0), job.splits.test.classes)
    rates = [record["images_per_second"] for record in trainer.records if record.get("images_per_second")]
    total = time.perf_counter() - request.started
    best = trainer.best
    results = {
        "epochs": trainer.epoch,
        "best_epoch": best["epoch"] if best else trainer.epoch,
        "val": {"accuracy": best["accuracy"], "loss": best["loss"]} if best else None,
        "test": {"accuracy": judged.accuracy, "loss": judged.loss, "n": judged.n},
        "seconds": {"total": round(total, 3), "train": round(seconds_train, 3)},
        "images_per_second": round(float(np.median(rates)), 1) if rates else None,
    }
    record = job.record.model_copy(update={"results": results})
    job.folder.write_record(record)
    return Finished(job.folder, record, module, judged, job.splits.test)


def _augmenter(recipe: Recipe, train: data.Images, seed: int) -> Augmenter | None:
    settings = Augmentation(**recipe.augment.resolve(*train.shape))
    return Augmenter(settings, seed=seed) if settings.active else None


def _class_weights(recipe: Recipe, train: data.Images, device: str) -> torch.Tensor | None:
    if recipe.class_weights == "none":
        return None
    if recipe.class_weights == "balanced":
        weights = len(train) / (len(train.classes) * np.maximum(train.counts(), 1))
    else:
        weights = np.asarray(recipe.class_weights)
        if len(weights) != len(train.classes):
            raise InputError(f"class_weights: {len(weights)} numbers for {len(train.classes)} classes")
    return torch.tensor(weights, dtype=torch.float32, device=device)


def _resume_command(job: Job) -> str:
    model = [job.record.model.name] if job.record.model.source == "file" else []
    return shlex.join(["convlens", "train", *model, "--resume", "--out", str(job.folder.path)])
