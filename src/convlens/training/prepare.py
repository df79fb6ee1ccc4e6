"""Makes a request definite: data, network, recipe and numeric settings are settled, checked and recorded."""

import dataclasses
from typing import Any

import torch
from torch import nn

from convlens import data, models
from convlens.base.errors import InputError
from convlens.base.progress import bars
from convlens.base.seeds import derive
from convlens.classify.device import available, choose
from convlens.data.formats.folders import FolderSource
from convlens.data.naming import listed
from convlens.models.build import build, is_file_reference
from convlens.models.lazy import settle_lazy_layers
from convlens.nn import WhiteningConv2d
from convlens.runs import RunFolder, RunRecord
from convlens.training import recipe as recipes
from convlens.training import settings
from convlens.training.compare import differences, new_run_from, recipe_differences
from convlens.training.handed_over import require_trainable_values, try_out
from convlens.training.initialization import begin_as_identity, whiten_first_layer
from convlens.training.recipe import Recipe
from convlens.training.recording import place_of, record_of, versions
from convlens.training.request import DEFAULT_DATA, DEFAULT_MODEL, DEFAULT_SEED, Job, Request
from convlens.training.starting import other_start, start_from
from convlens.training.unused import unused

_WHITENED = 5000  # training images that whitening looks at
_LOOK = 2  # training images that the network is tried on, before there is a run folder


def prepare(request: Request, folder: RunFolder, stored: RunRecord | None) -> Job:
    request.engine = request.engine or (stored.engine if stored else "torch")
    reference = _model_reference(request, stored)
    seed = request.seed if request.seed is not None else stored.seed if stored else DEFAULT_SEED
    own = models.get(reference) if isinstance(reference, str) and not is_file_reference(reference) else None
    recipe = _recipe(request, stored, own)
    numeric, notes, changed = _numeric(request, recipe, stored)
    asked = _data_reference(request, stored)
    streamed = request.stream or (stored is not None and stored.data.streamed)
    named = request.classes or (stored.classes if stored is not None and stored.data.named else None)
    with bars(request.quiet, unit="B") as progress:
        source = data.find(asked, stream=streamed, classes=named, on_download=progress)
    preprocess = _preprocess(request, source, own, stored)
    _check_before_reading(reference, recipe, source, preprocess, request.engine)
    with bars(request.quiet, unit="images") as progress:
        reading = source.read(preprocess, lambda done, total: progress(f"reading {source.name}", done, total))
    notes.append(f"{len(source.classes):,} classes: {listed(source.classes, '{}', 12, as_given=True)}")
    notes += [f"skipped {path}: {why}" for path, why in reading.skipped[:20]]
    if len(reading.skipped) > 20:
        notes.append(f"skipped {len(reading.skipped) - 20} more images that could not be read")
    notes += reading.notes
    splits = data.split(reading.parts, seed=seed, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction)
    if isinstance(recipe.batch_size, int) and recipe.batch_size > len(splits.train):
        notes.append(
            f"batch_size {recipe.batch_size:,} is more than the {len(splits.train):,} images for training: "
            "each step takes all of them"
        )
    notes += _without_effect(request, recipe, set(reading.parts), len(splits.val) > 0)
    preprocess = preprocess.fitted(splits.train.pixels)
    module = _module(reference, recipe, splits.train, seed)
    require_trainable_values(module)
    if any(isinstance(layer, WhiteningConv2d) for layer in module.modules()):
        whiten_first_layer(module, torch.from_numpy(preprocess.normalize(splits.train.pixels[:_WHITENED])))
    started_from = start_from(module, request.weights, folder, stored, notes)
    few = torch.from_numpy(preprocess.normalize(splits.train.pixels[:_LOOK]))
    numeric = try_out(module, few, len(splits.train.classes), numeric, notes)
    record = record_of(
        reference=reference, module=module, asked=asked, source=source, reading=reading, streamed=streamed,
        named=named is not None, given_parts=set(reading.parts), splits=splits, preprocess=preprocess, recipe=recipe,
        seed=seed, engine=request.engine, numeric=numeric,
    )  # fmt: skip
    if stored is not None:
        different = differences(record, stored)
        if different and folder.holds_weights():
            raise InputError(f"cannot resume: {'; '.join(different)}; {new_run_from(folder)}")
        record = record.model_copy(update={"processes": stored.processes}) if different else stored
    record = record.model_copy(update={"started_from": started_from})
    return Job(folder, record, recipe, numeric, module, preprocess, splits, notes, changed)


def _model_reference(request: Request, stored: RunRecord | None) -> str | nn.Module:
    if request.model is not None:
        return request.model
    if stored is None:
        return DEFAULT_MODEL
    if stored.model.source != "zoo" or is_file_reference(stored.model.name):
        where = "on the command line" if stored.model.source == "file" else "to cl.train"
        raise InputError(
            f"the run's network is {stored.model.name!r}, its author's own code; to go on, give it again {where}"
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


def _numeric(
    request: Request, recipe: Recipe, stored: RunRecord | None
) -> tuple[settings.Numeric, list[str], list[str]]:
    """(settings, notes, what is not as when the run began)."""
    wanted = "auto" if request.device is None else request.device
    precision = recipe.precision
    if request.engine == "numpy":  # whatever else is asked for
        elsewhere = choose(wanted)[0] != "cpu" and request.device not in (None, "auto")
        ignored = [f"the NumPy engine computes on the CPU, not on {wanted}"] if elsewhere else []
        wanted, precision = "cpu", "float32"
    else:
        ignored = []
    chosen = settings.settle(
        wanted,
        precision,
        compile=recipe.compile,
        deterministic=request.deterministic,
        threads=request.threads,
    )
    notes: list[str] = ignored
    changed: list[str] = []
    if recipe.compile and request.engine == "torch" and not chosen.compile:
        notes.append(f"warning: not compiled: {chosen.reasons['compile'].removeprefix('off: ')}")
    if stored is not None:
        before = settings.Numeric(**stored.numeric)
        if request.device in (None, before.device) and available(before.device):
            chosen = dataclasses.replace(before, threads=request.threads or before.threads)
        if request.deterministic and not chosen.deterministic:
            notes.append("--deterministic is ignored: the run began without it")
        for name in ("device", "threads"):
            now, then = getattr(chosen, name), getattr(before, name)
            changed += [f"{name}: {now} instead of {then}"] if now != then else []
    changed += settings.apply(chosen)
    then = stored.versions if stored else {}
    changed += [
        f"{name}: {now} instead of {then[name]}" for name, now in versions().items() if then.get(name, now) != now
    ]
    if changed:
        notes.append(f"warning: {'; '.join(changed)}: the result will not be bit-identical")
    return chosen, notes, changed


def _without_effect(request: Request, recipe: Recipe, given_parts: set[str], validated: bool) -> list[str]:
    """A line that names the settings that were asked for one by one and have no effect."""
    idle = unused(
        recipe,
        engine="torch",  # what the other leaves out it says itself
        handed_over=isinstance(request.model, nn.Module),
        parts=given_parts,
        validated=validated,
    )
    asked = recipes.named(request.recipe, request.settings)
    found = [key for key in idle if key in asked]
    return [f"without effect, because of other settings: {', '.join(found)}"] if found else []


def _preprocess(
    request: Request, source: data.Source, own: models.ModelEntry | None, stored: RunRecord | None
) -> data.Preprocess:
    if request.size is None and stored is not None:
        before = data.Preprocess.from_dict(stored.preprocess)
        return data.Preprocess(before.size, before.channels, interpolation=before.interpolation)
    return input_for(source, own, request.size)


def input_for(
    source: data.Source, own: models.ModelEntry | None, size: int | tuple[int, int] | None = None
) -> data.Preprocess:
    """Input size and channels: what was asked for, else the images' own where they are small and of one size.

    own: the network's entry in the zoo, if it has one.
    """
    channels = source.native[0] if source.native else 3
    if size is not None:
        return data.Preprocess((size, size) if isinstance(size, int) else size, channels)
    _, height, width = own.input if own is not None and len(own.input) == 3 else (0, 28, 28)
    if source.native is None or min(source.native[1:]) > 64:  # photographs: at least 64 pixels per side
        return data.Preprocess((max(64, height), max(64, width)), channels)
    _, native_height, native_width = source.native
    if own is not None and max(height, width) > 64:  # made for photographs: not more pixels than it needs
        return data.Preprocess(_smallest_size(own, source.native), channels)
    if native_height >= height and native_width >= width:
        height, width = native_height, native_width
    return data.Preprocess((height, width), channels)


def _check_before_reading(
    reference: str | nn.Module, recipe: Recipe, source: data.Source, preprocess: data.Preprocess, engine: str
) -> None:
    """Finds settings that cannot work before the pictures are read, which may take long."""
    shape = (preprocess.channels, *preprocess.size)
    if engine == "torch":
        recipe.augment.resolve(*shape).require_size(*preprocess.size)
    if not isinstance(recipe.class_weights, str) and len(recipe.class_weights) != len(source.classes):
        raise InputError(f"class_weights: {len(recipe.class_weights)} numbers for {len(source.classes)} classes")
    if engine == "numpy":
        from convlens.training.numpy_engine import optimizer_of  # only where it is asked for: 70 ms

        optimizer_of(recipe)
    if isinstance(source, FolderSource) and isinstance(reference, str) and not is_file_reference(reference):
        with torch.device("meta"):  # a network of the zoo costs nothing there
            _build(reference, recipe, len(source.classes), shape)


def _smallest_size(own: models.ModelEntry, native: tuple[int, int, int]) -> tuple[int, int]:
    """The size for small images on a network for large ones: their own, at least 32 pixels, or the next that works."""
    _, height, width = native
    for least in (32, 64, 96, 128):
        size = (max(height, least), max(width, least))
        try:
            with torch.device("meta"):
                models.create(own.name, image_size=size)
            return size
        except InputError:
            continue
    return own.input[1], own.input[2]


def _module(reference: str | nn.Module, recipe: Recipe, train: data.Images, seed: int) -> nn.Module:
    if isinstance(reference, nn.Module):
        settle_lazy_layers(reference, train.shape)
        return reference
    torch.manual_seed(derive(seed, "initialisation"))  # a name of random numbers: spelled otherwise they are others
    module = _build(reference, recipe, len(train.classes), train.shape)
    if recipe.identity_start:
        begin_as_identity(module)
    return module


def _build(reference: str, recipe: Recipe, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """shape: (C, H, W)."""
    return build(
        reference, num_classes=classes, in_channels=shape[0], image_size=shape[1:], whitening=recipe.whitening,
        **recipe.model,
    )  # fmt: skip


def refuse_other_words(request: Request, folder: RunFolder, stored: RunRecord) -> list[str]:
    """A finished run: compares what can be compared without reading the data. Returns what must be said."""
    found = []
    if isinstance(request.model, str) and request.model != stored.model.name:
        found.append(f"network: the run has {stored.model.name}, you asked for {request.model}")
    size = (request.size, request.size) if isinstance(request.size, int) else request.size
    if size is not None and list(size) != stored.model.input[1:]:
        found.append(f"input size: the run has {stored.model.input[1:]}, you asked for {list(size)}")
    if request.seed not in (None, stored.seed):
        found.append(f"seed: the run has {stored.seed}, you asked for {request.seed}")
    if request.engine not in (None, stored.engine):
        found.append(f"engine: the run has {stored.engine}, you asked for {request.engine}")
    found += other_start(request.weights, stored)
    own = models.get(stored.model.name) if stored.model.source == "zoo" else None
    found += recipe_differences(_recipe(request, stored, own).model_dump(mode="json"), stored.recipe)
    if found:
        raise InputError(f"the run is finished, and another was asked for: {'; '.join(found)}; {new_run_from(folder)}")
    ignored = []
    if request.data is not None and place_of(request.data) != stored.data.source:
        ignored.append("data")
    numeric = stored.numeric
    ignored += ["device"] if request.device not in (None, "auto", numeric["device"]) else []
    ignored += ["threads"] if request.threads not in (None, numeric["threads"]) else []
    ignored += ["deterministic"] if request.deterministic and not numeric.get("deterministic") else []
    without = f"; not looked at: {', '.join(ignored)}" if ignored else ""
    return [f"the run {folder.path} is finished already: nothing was trained{without}"]
