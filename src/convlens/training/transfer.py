"""`--from`: the features of a trained network, and a new output layer for other classes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from convlens import models
from convlens.base.errors import InputError, nearest
from convlens.data.preprocess import Preprocess
from convlens.models import pretrained
from convlens.runs import RunFolder, RunRecord, StartedFrom
from convlens.training import recipe as recipes
from convlens.training.recipe import PreprocessSettings, Recipe
from convlens.training.request import Request

RECIPE = "transfer"
STAGE_EPOCHS = 3
"""Of the second stage, where it was asked for and nobody named a number (`fine_tune`)."""
LARGER = 9 / 7
"""Features are better at a larger size than that of training, where crops made things look larger (Touvron et al.
2019)."""


def expanded(request: Request) -> Request:
    """The request with what `from_` stands for: network, weights, the recipe `transfer` unless another is named.

    Raises:
        InputError: no run and no network with trained weights, or weights named twice.
    """
    options = _in_words_of_the_recipe(request.options)
    reference = options["from_"]
    if reference is None:
        return Request(request.model, request.data, **options)
    if options["weights"] is not None:
        raise InputError("--from brings its own weights: leave --weights away")
    given: dict[str, Any] = {**options, "from_": None, "recipe": options["recipe"] or RECIPE}
    if Path(reference).is_dir():
        record = RunFolder(reference).read_record()
        model: Any = request.model or _network_of(record, str(reference))
        settings = [f"{key}={value}" for key, value in _arguments(record).items()] if request.model is None else []
        given |= {"weights": reference, "settings": (*settings, *options["settings"])}
    else:
        if str(reference) not in pretrained.PRETRAINED:
            known = ", ".join(pretrained.PRETRAINED)
            hint = nearest(str(reference), pretrained.PRETRAINED)
            raise InputError(
                f"--from {reference}: neither a run folder nor a network that comes trained{hint} ({known})"
            )
        model = request.model or str(reference)
        given["weights"] = pretrained.get(str(reference)).require()
    return Request(model, request.data, **given)


def _in_words_of_the_recipe(options: dict[str, Any]) -> dict[str, Any]:
    """--stages and --freeze as settings of the recipe."""
    stages, freeze = options["stages"], options["freeze"]
    if stages is not None and options["from_"] is None:
        raise InputError("--stages goes with --from, which fits an output layer first")
    added = [] if stages is None else [f"fine_tune={STAGE_EPOCHS if stages == 2 else 0}"]
    added += [f"frozen={json.dumps(list(freeze))}"] if freeze else []
    return {**options, "stages": None, "freeze": (), "settings": (*added, *options["settings"])}


def _network_of(record: RunRecord, path: str) -> str:
    if record.model.source != "zoo":
        raise InputError(f"the network of {path} is its author's own code: name it again, as the MODEL to train")
    return models.get(record.model.name).name


def _arguments(record: RunRecord) -> dict[str, Any]:
    """The recipe's keys that decide what the network is."""
    recipe = recipes.parse(record.recipe, "the recipe in run.json")
    found: dict[str, Any] = {
        f"model.{key}": "none" if value is None else json.dumps(value) for key, value in recipe.model.items()
    }
    return found | ({"whitening": recipe.whitening} if recipe.whitening else {})


def input_of(start: StartedFrom | None, size: int | tuple[int, int] | None) -> Preprocess | None:
    """How the pictures were prepared that the weights were trained on: features mean something for such alone.

    size: another side, or (height, width), if the user asks for one. None where nothing is known of the weights.
    """
    if start is None:
        return None
    path = Path(start.path)
    if path.is_dir():
        found = Preprocess.from_dict(RunFolder(path).read_record().preprocess)
    elif (known := pretrained.of_file(start.sha256)) is not None:
        side = round(known.side * LARGER / 32) * 32
        found = dataclasses.replace(known.preprocess, size=(side, side))
    else:
        return None
    return found if size is None else dataclasses.replace(found, size=(size, size) if isinstance(size, int) else size)


def with_scale_of(kept: Preprocess, recipe: Recipe) -> Recipe:
    """The recipe with the scale of pixels that the features know. Raises `InputError` where it names another.

    Mean 0 and deviation 1 are "unit"; all others are of the weights, and under "standard" nothing changes them.
    """
    of_pixels = Preprocess(kept.size, kept.channels, interpolation=kept.interpolation)
    own = "unit" if kept == of_pixels else "standard"
    if recipe.preprocess.scale not in ("standard", own):
        raise InputError(
            f"preprocess.scale: the features were trained on pixels of another scale than {recipe.preprocess.scale!r}; "
            "leave it away"
        )
    return recipe.model_copy(update={"preprocess": PreprocessSettings(scale=own)})
