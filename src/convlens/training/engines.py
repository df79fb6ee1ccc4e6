"""The engine of an experiment, with its loaders."""

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convlens import data
from convlens.base.errors import InputError
from convlens.data.augment.augmenter import Augmenter
from convlens.data.loader import Loader
from convlens.training import groups
from convlens.training.experiment import Experiment
from convlens.training.plan import LIVE
from convlens.training.processes.world import ALONE, World
from convlens.training.recipe import Recipe
from convlens.training.settings import DTYPES
from convlens.training.torch_engine import TorchEngine

if TYPE_CHECKING:
    from convlens.training.fine_tuning import TransferEngine
    from convlens.training.head_engine import HeadEngine
    from convlens.training.numpy_engine import NumpyEngine


def engine_of(
    experiment: Experiment, quiet: bool = True, *, world: World = ALONE, fast: bool = False
) -> "TorchEngine | NumpyEngine | HeadEngine | TransferEngine":
    """The engine that the plan names; what it leaves out is added to the notes. world, fast: see `processes`."""
    if experiment.plan.recipe.head == "features":
        return _head_engine(experiment, quiet)
    return _numpy_engine(experiment) if experiment.plan.engine == "numpy" else _torch_engine(experiment, world, fast)


def threads_of(engine: str) -> contextlib.AbstractContextManager[None]:
    """Inside, the engine takes no more threads than may run."""
    if engine != "numpy":
        return contextlib.nullcontext()  # PyTorch's own are limited already
    from convlens.training.numpy_engine import limited_products

    return limited_products()


def test_loader(experiment: Experiment) -> Loader:
    """The test images, in float32 whatever the precision of training."""
    numeric = experiment.plan.numeric
    return Loader(
        experiment.splits.test, experiment.preprocess, batch_size=experiment.plan.recipe.eval_batch_size, shuffle=False,
        device=numeric.device, channels_last=numeric.channels_last,
    )  # fmt: skip


def _torch_engine(
    experiment: Experiment, world: World = ALONE, fast: bool = False, make: Any = TorchEngine
) -> TorchEngine:
    recipe, numeric, splits, seed = (
        experiment.plan.recipe,
        experiment.plan.numeric,
        experiment.splits,
        experiment.plan.seed,
    )
    experiment.module.to(numeric.device)
    if numeric.channels_last:
        experiment.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - a documented overload
    shared: dict[str, Any] = {
        "device": numeric.device, "channels_last": numeric.channels_last, "dtype": DTYPES[numeric.dtype],
    }  # fmt: skip
    augmentation = recipe.augment.resolve(*splits.train.shape)
    train = Loader(
        splits.train, experiment.preprocess, batch_size=recipe.batch_size_for(len(splits.train)), seed=seed,
        augmenter=Augmenter(augmentation, seed=seed) if augmentation.active else None,
        drop_last=True, rank=world.rank, world=world.size, **shared,
    )  # fmt: skip
    val = None
    if len(splits.val):
        val = Loader(splits.val, experiment.preprocess, batch_size=recipe.eval_batch_size, shuffle=False, **shared)
    output_weights: set[str] = set()
    if recipe.optimizer.name == "muon":
        few = torch.from_numpy(experiment.preprocess.normalize(splits.train.pixels[:2]))
        output_weights = groups.output_weights(experiment.module, few, len(splits.train.classes))
    if recipe.shards is not None:
        from convlens.training.processes.engines import ExactEngine  # only where it is asked for

        make = functools.partial(ExactEngine, world=world, shards=recipe.shards)
    elif fast and world.size > 1:
        from convlens.training.processes.fast import FastEngine

        make = functools.partial(FastEngine, world=world)
    return make(
        experiment.module, train, val, classes=splits.train.classes, recipe=recipe, numeric=numeric, seed=seed,
        class_weights=class_weights_of(recipe, splits.train), output_weights=output_weights,
    )  # fmt: skip


def _head_engine(experiment: Experiment, quiet: bool) -> "HeadEngine | TransferEngine":
    from convlens.training.fine_tuning import FineTuningEngine, TransferEngine  # only where it is asked for
    from convlens.training.head_engine import HeadEngine

    plan, splits = experiment.plan, experiment.splits
    if plan.engine == "numpy":
        raise InputError('head = "features" is for --engine torch: the NumPy engine trains whole networks')
    if plan.started_from is None and plan.source != LIVE:
        raise InputError(
            'head = "features" needs a trained network: name it with --from, or its weights with --weights'
        )
    experiment.module.to(plan.numeric.device)
    head = HeadEngine(
        experiment.module, splits, experiment.preprocess, device=plan.numeric.device, quiet=quiet,
        mirror=bool(plan.recipe.augment.resolve(*splits.train.shape).flip),
        class_weights=class_weights_of(plan.recipe, splits.train),
    )  # fmt: skip
    images = len(splits.train)
    fits, epochs = plan.recipe.fits_for(images), plan.recipe.epochs_for(images)
    if fits == epochs:
        return head
    make = functools.partial(FineTuningEngine, first=fits, last=epochs)
    fine: Any = _torch_engine(experiment.with_recipe(ema=None, lookahead=None), make=make)
    return TransferEngine(head, fine, fits)


def _numpy_engine(experiment: Experiment) -> "NumpyEngine":
    from convlens.training.numpy_engine import NumpyEngine, unsupported  # only where it is asked for: 70 ms

    plan, splits = experiment.plan, experiment.splits
    left_out = unsupported(plan.recipe, splits.train.shape)
    if left_out:
        experiment.notes.append(f"the NumPy engine trains without {', '.join(left_out)}")
    return NumpyEngine(experiment.module, splits, experiment.preprocess, recipe=plan.recipe, seed=plan.seed)


def class_weights_of(recipe: Recipe, train: data.Images) -> np.ndarray | None:
    """float64 [K], or None where all classes weigh the same."""
    if recipe.class_weights in ("none", "auto"):  # not decided yet: see `imbalance`
        return None
    if recipe.class_weights == "balanced":
        return len(train) / (len(train.classes) * np.maximum(train.counts(), 1))
    if len(recipe.class_weights) != len(train.classes):
        raise InputError(f"class_weights: {len(recipe.class_weights)} numbers for {len(train.classes)} classes")
    return np.asarray(recipe.class_weights)
