"""What `run.json` says of a run that begins: everything that determines it."""

import datetime
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import convlens
from convlens import data
from convlens.models.build import is_file_reference
from convlens.models.network import count_parameters
from convlens.runs import DataRecord, LeftOut, ModelRecord, RunRecord
from convlens.training.recipe import Recipe
from convlens.training.settings import Numeric
from convlens.training.unused import unused


def record_of(
    *,
    reference: str | nn.Module,
    module: nn.Module,
    asked: Any,
    source: data.Source,
    reading: data.Reading,
    streamed: bool,
    named: bool,
    given_parts: set[str],
    splits: data.Splits,
    preprocess: data.Preprocess,
    recipe: Recipe,
    seed: int,
    engine: str,
    numeric: Numeric,
) -> RunRecord:
    """The record of a run.

    Args:
        reference: the network as it was named or handed over; `module` is what became of it.
        asked: the images as they were named or handed over; `source` is what became of it, `reading` what it gave.
        given_parts: the parts that the source has, and that were not cut from its training part.
    """
    handed_over = isinstance(reference, nn.Module)
    return RunRecord(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=_model(reference, module, recipe, splits.train.shape),
        classes=list(splits.train.classes),
        preprocess=preprocess.to_dict(),
        recipe=recipe.model_dump(mode="json"),
        resolved=_resolved(recipe, engine, numeric, splits.train),
        unused=unused(recipe, engine=engine, handed_over=handed_over, parts=given_parts, validated=len(splits.val) > 0),
        seed=seed,
        numeric=numeric.to_dict(),
        engine="numpy" if engine == "numpy" else "torch",
        data=DataRecord(
            source=place_of(asked),
            name=source.name,
            fingerprint="-".join(part.fingerprint()[:16] for part in splits),
            counts={part: len(images) for part, images in splits._asdict().items()},
            split=_describe_split(len(splits.val) > 0, given_parts),
            streamed=streamed,
            named=named,
            left_out=_left_out(reading.skipped),
            turned=reading.turned,
        ),
        versions=versions(),
    )


def _model(reference: str | nn.Module, module: nn.Module, recipe: Recipe, shape: tuple[int, ...]) -> ModelRecord:
    shared: dict[str, Any] = {"input": list(shape), "parameters": count_parameters(module)}
    if isinstance(reference, nn.Module):
        name = f"{type(reference).__module__}.{type(reference).__qualname__}"
        return ModelRecord(source="live", name=name, **shared)
    shared |= {"name": reference, "arguments": dict(recipe.model), "whitening": recipe.whitening}
    if is_file_reference(reference):
        return ModelRecord(source="file", file=os.path.abspath(reference.rpartition(":")[0]), **shared)
    return ModelRecord(source="zoo", **shared)


def place_of(asked: Any) -> str:
    """A name, or a path that holds from everywhere; not where a link leads: what it is called can mean something."""
    if not isinstance(asked, (str, Path)):
        return "arrays"
    if str(asked) in data.names():
        return str(asked)
    return os.path.abspath(Path(asked).expanduser())


def _resolved(recipe: Recipe, engine: str, numeric: Numeric, train: data.Images) -> dict[str, Any]:
    """Values that the recipe leaves open or the machine decided, by their dotted keys."""
    values: dict[str, Any] = {
        "epochs": recipe.epochs_for(len(train)),
        "batch_size": recipe.batch_size_for(len(train)),
        "precision": "float32" if engine == "numpy" else numeric.dtype,
    }
    if engine == "torch":
        augment = recipe.augment.resolve(*train.shape)
        values |= {"compile": numeric.compile, "augment.flip": augment.flip, "augment.shift": augment.shift}
    return values


def _left_out(skipped: Sequence[tuple[str, str]]) -> LeftOut:
    reasons = Counter(why for _, why in skipped)
    return LeftOut(
        count=len(skipped), reasons=dict(reasons.most_common(20)), files=[[path, why] for path, why in skipped[:20]]
    )


def _describe_split(validated: bool, given_parts: set[str]) -> str:
    if not validated:
        return "trained on all training images for a fixed budget; the last weights are kept"
    part = "the validation part of the source" if "val" in given_parts else "a validation part of the training images"
    return f"best weights chosen on {part}; the test part is used once, at the end"


def versions() -> dict[str, str]:
    """Versions that the bits of a result may hang on."""
    return {
        "convlens": convlens.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
