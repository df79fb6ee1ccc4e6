"""From a plan to an experiment: images read and divided, the network built and tried out. Nothing is trained yet."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convlens import data, models
from convlens.base.errors import InputError
from convlens.base.progress import bars
from convlens.base.seeds import derive
from convlens.data.naming import listed
from convlens.models.build import build as build_network
from convlens.models.lazy import settle_lazy_layers
from convlens.models.network import count_parameters
from convlens.nn import WhiteningConv2d
from convlens.runs import RunRecord
from convlens.training.frozen import freeze
from convlens.training.handed_over import require_trainable_values, try_out
from convlens.training.initialization import begin_as_identity, whiten_first_layer
from convlens.training.plan import LIVE, Plan
from convlens.training.recording import record_of
from convlens.training.starting import load_start

_WHITENED = 5000  # training images that whitening looks at
_LOOK = 2  # training images that the network is tried on, before there is a run folder
_NAMED = 20  # skipped files that are named one by one


@dataclass
class Experiment:
    """A plan with all that it takes to run it.

    plan: complete: what the images and the network decided is in it.
    record: what `run.json` says of it so far.
    preprocess: fitted to the training images. splits: all images, prepared.
    given_parts: the parts that the source has, and that were not cut from its training part.
    notes: what a person should know, one line each.
    """

    plan: Plan
    record: RunRecord
    module: nn.Module
    preprocess: data.Preprocess
    splits: data.Splits
    given_parts: set[str]
    notes: list[str]

    def with_recipe(self, **changes: Any) -> "Experiment":
        """The same with other values of some keys of the recipe, in its plan and in its record."""
        plan = replace(self.plan, recipe=self.plan.recipe.model_copy(update=changes))
        record = self.record.model_copy(update={"recipe": plan.recipe.model_dump(mode="json")})
        return replace(self, plan=plan, record=record)

    def on_a_copy(self) -> "Experiment":
        """The same with a copy of the network and no notes: what is tried on it leaves this one untouched."""
        return replace(self, module=copy.deepcopy(self.module), notes=[])


def build(
    plan: Plan,
    *,
    source: data.Source | None = None,
    module: nn.Module | None = None,
    own_code: bool = False,
    going_on: bool = False,
    weights: Path | str | None = None,
    quiet: bool = True,
    notes: Sequence[str] = (),
) -> Experiment:
    """Reads the images and builds the network of a plan.

    Args:
        source: the images, where they were found already or handed over.
        module: the network, where it was handed over.
        own_code: whether a file that the plan names may be run, because the user named it; a plan from elsewhere
            may name any file.
        going_on: a checkpoint will be loaded: weights to start from are not read.
        weights: where the weights to start from are now, if the user said so.

    Raises:
        InputError: images or a network that are gone, cannot be read, or do not fit together.
    """
    if (plan.source == LIVE) != (module is not None):
        raise InputError(f"the plan's network, {plan.network}, was handed over as an object: pass it again")
    if plan.source == "file" and not own_code:
        raise InputError(f"the plan's network, {plan.network}, is its author's own code: pass own_code=True to run it")
    source = source or data.find(plan.data, stream=plan.streamed, classes=_list(plan.classes))
    _check_before_reading(plan, source)
    said = list(notes)
    reading = _read(plan, source, quiet, said)
    recipe = plan.recipe
    splits = data.split(
        reading.parts, seed=plan.seed, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction
    )
    if isinstance(recipe.batch_size, int) and recipe.batch_size > len(splits.train):
        said.append(
            f"batch_size {recipe.batch_size:,} is more than the {len(splits.train):,} images for training: "
            "each step takes all of them"
        )
    preprocess = plan.scaled(splits.train.pixels)
    module = _network(plan, module, splits.train, preprocess)
    if plan.started_from is not None and not going_on:
        said += load_start(module, plan.started_from, weights)
    elif weights is not None:
        said.append(f"the run goes on from its own checkpoint: {weights} is not read again")
    parameters = count_parameters(module)  # before some are frozen
    said += freeze(module, recipe.frozen)
    few = torch.from_numpy(preprocess.normalize(splits.train.pixels[:_LOOK]))
    plan = replace(plan, numeric=try_out(module, few, len(splits.train.classes), plan.numeric, said))
    record = record_of(plan, parameters, source, reading, splits, preprocess)
    return Experiment(plan, record, module, preprocess, splits, set(reading.parts), said)


def _check_before_reading(plan: Plan, source: data.Source) -> None:
    """Finds settings that cannot work before the pictures are read, which may take long."""
    recipe = plan.recipe
    if plan.engine == "torch":
        recipe.augment.resolve(*plan.input).require_size(*plan.preprocess.size)
    if not isinstance(recipe.class_weights, str) and len(recipe.class_weights) != len(source.classes):
        raise InputError(f"class_weights: {len(recipe.class_weights)} numbers for {len(source.classes)} classes")
    if plan.engine == "numpy":
        from convlens.training.numpy_engine import optimizer_of  # only where it is asked for: 70 ms

        optimizer_of(recipe)
    if plan.source == "zoo" and not isinstance(source, data.ArraySource):  # files, which take long
        with torch.device("meta"):  # a network of the zoo costs nothing there
            _built(plan, len(source.classes))


def _read(plan: Plan, source: data.Source, quiet: bool, notes: list[str]) -> data.Reading:
    """What a source gives; what a person should know of it is added to the notes."""
    with bars(quiet, unit="images") as progress:
        reading = source.read(plan.preprocess, lambda done, total: progress(f"reading {source.name}", done, total))
    notes.append(f"{len(source.classes):,} classes: {listed(source.classes, '{}', 12, as_given=True)}")
    notes += [f"skipped {path}: {why}" for path, why in reading.skipped[:_NAMED]]
    if len(reading.skipped) > _NAMED:
        notes.append(f"skipped {len(reading.skipped) - _NAMED} more images that could not be read")
    notes += reading.notes
    return reading


def _network(plan: Plan, module: nn.Module | None, train: data.Images, preprocess: data.Preprocess) -> nn.Module:
    """The network with its first weights."""
    if module is not None:
        settle_lazy_layers(module, train.shape)
    else:
        torch.manual_seed(derive(plan.seed, "initialisation"))  # names the numbers: spelled otherwise, others
        module = _built(plan, len(train.classes))
        if plan.recipe.identity_start:
            begin_as_identity(module)
    require_trainable_values(module)
    if any(isinstance(layer, WhiteningConv2d) for layer in module.modules()):
        whiten_first_layer(module, torch.from_numpy(preprocess.normalize(train.pixels[:_WHITENED])))
    return module


def _built(plan: Plan, classes: int) -> nn.Module:
    channels, height, width = plan.input
    if plan.source == "zoo":
        models.get(plan.network)  # a name of the zoo, or an error: never a file
    return build_network(
        plan.network, num_classes=classes, in_channels=channels, image_size=(height, width),
        whitening=plan.recipe.whitening, **plan.recipe.model,
    )  # fmt: skip


def _list(names: tuple[str, ...] | None) -> Any:
    return None if names is None else list(names)
