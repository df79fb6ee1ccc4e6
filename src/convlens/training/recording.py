"""What `run.json` says of a run that begins: everything that determines it."""

import datetime
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import convlens
from convlens import data
from convlens.runs import DataRecord, LeftOut, ModelRecord, RunRecord
from convlens.training.numeric import Numeric
from convlens.training.plan import LIVE, Plan
from convlens.training.recipe import Recipe
from convlens.training.unused import unused


def record_of(
    plan: Plan,
    parameters: int,
    source: data.Source,
    reading: data.Reading,
    splits: data.Splits,
    preprocess: data.Preprocess,
) -> RunRecord:
    """The record of a run that begins.

    parameters: of the network, those that the recipe freezes included.
    reading: what the source gave: its parts were not cut from the training part.
    """
    recipe, validated, given_parts = plan.recipe, len(splits.val) > 0, set(reading.parts)
    live = plan.source == LIVE
    return RunRecord(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model=ModelRecord(
            source=plan.source,
            name=plan.network,
            file=plan.file,
            arguments={} if live else dict(recipe.model),
            whitening=0 if live else recipe.whitening,
            input=list(splits.train.shape),
            parameters=parameters,
        ),
        classes=list(splits.train.classes),
        preprocess=preprocess.to_dict(),
        recipe=recipe.model_dump(mode="json"),
        resolved=_resolved(recipe, plan.engine, plan.numeric, splits.train),
        unused=unused(recipe, engine=plan.engine, handed_over=live, parts=given_parts, validated=validated),
        seed=plan.seed,
        numeric=plan.numeric.to_dict(),
        engine=plan.engine,
        data=DataRecord(
            source=plan.data,
            name=source.name,
            fingerprint="-".join(part.fingerprint()[:16] for part in splits),
            counts={part: len(images) for part, images in splits._asdict().items()},
            split=_describe_split(validated, given_parts),
            streamed=plan.streamed,
            named=plan.classes is not None,
            left_out=_left_out(reading.skipped),
            turned=reading.turned,
        ),
        versions=versions(),
        started_from=plan.started_from,
    )


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
