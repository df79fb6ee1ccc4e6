"""A plan: all that determines a run, as data. On one machine the same plan gives the same weights, bit for bit."""

import json
import shlex
from dataclasses import dataclass
from typing import Any, Literal

from convlens.data.preprocess import Preprocess
from convlens.data.store.rows import Pixels
from convlens.runs import RunRecord, StartedFrom
from convlens.training import recipe as recipes
from convlens.training.numeric import Numeric
from convlens.training.options import words
from convlens.training.recipe import Recipe

LIVE, ARRAYS = "live", "arrays"
"""Of a network and of images that were handed over as objects: a plan can only name them."""


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, how. `run.json` holds it, what was found out about it, and its results.

    network: a name of the zoo; "file.py:Function"; or of a module that was handed over the name of its class.
    source: which of the three: "zoo", "file" or "live". file: the absolute path of the file.
    data: a name, an absolute path, or "arrays" for images that were handed over.
    classes: their names, where the user gave them. streamed: pictures are decoded whenever they are needed.
    preprocess: size and channels of the input, not yet fitted to the images; mean and deviation are there already where
        the features of a trained network expect them (see `scaled`).
    engine: "torch" or "numpy". numeric: device, precision, threads.
    started_from: where the first weights come from, if they are not drawn.
    """

    network: str
    source: Literal["zoo", "file", "live"]
    data: str
    preprocess: Preprocess
    recipe: Recipe
    seed: int
    numeric: Numeric
    engine: Literal["torch", "numpy"] = "torch"
    file: str | None = None
    classes: tuple[str, ...] | None = None
    streamed: bool = False
    started_from: StartedFrom | None = None

    def scaled(self, pixels: Pixels) -> Preprocess:
        """The preprocessing with its mean and deviation. pixels: of the training images, uint8 [N, H, W, C]."""
        plain = Preprocess(self.preprocess.size, self.preprocess.channels)
        if (self.preprocess.mean, self.preprocess.std) != (plain.mean, plain.std):
            return self.preprocess  # those of the weights that the run begins with
        return self.preprocess.scaled(self.recipe.preprocess.scale, pixels)

    @classmethod
    def of(cls, record: RunRecord) -> "Plan":
        """The plan of a run. Raises `InputError` for a recipe or preprocessing that this version does not know."""
        before = Preprocess.from_dict(record.preprocess)
        recipe = recipes.parse(record.recipe, "the recipe in run.json")
        if recipe.head == "fresh":
            before = Preprocess(before.size, before.channels, interpolation=before.interpolation)
        return cls(
            network=record.model.name,
            source=record.model.source,
            file=record.model.file,
            data=record.data.source,
            classes=tuple(record.classes) if record.data.named else None,
            streamed=record.data.streamed,
            preprocess=before,
            recipe=recipe,
            seed=record.seed,
            engine=record.engine,
            numeric=Numeric(**record.numeric),
            started_from=record.started_from,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Plan":
        """The inverse of `to_dict`."""
        started = values["started_from"]
        return cls(
            **values
            | {
                "preprocess": Preprocess.from_dict(values["preprocess"]),
                "recipe": recipes.parse(values["recipe"], "the plan's recipe"),
                "numeric": Numeric(**values["numeric"]),
                "classes": None if values["classes"] is None else tuple(values["classes"]),
                "started_from": None if started is None else StartedFrom.model_validate(started),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "network": self.network,
            "source": self.source,
            "file": self.file,
            "data": self.data,
            "classes": None if self.classes is None else list(self.classes),
            "streamed": self.streamed,
            "preprocess": self.preprocess.to_dict(),
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "engine": self.engine,
            "numeric": self.numeric.to_dict(),
            "started_from": None if self.started_from is None else self.started_from.model_dump(mode="json"),
        }

    @property
    def input(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.preprocess.channels, *self.preprocess.size)

    @property
    def reference(self) -> str:
        """What names the network from everywhere."""
        return self.network if self.file is None else f"{self.file}:{self.network.rpartition(':')[2]}"

    def command(self) -> str | None:
        """The line for a POSIX shell that trains the plan; None where only a Python program could hand over a part."""
        if self.source == LIVE or self.data == ARRAYS:
            return None
        return shlex.join(["convlens", "train", self.reference, "--data", self.data, *words(self.options())])

    def options(self) -> dict[str, Any]:
        """What the command line has to be asked for: all that is no default, and what the machine decided."""
        height, width = self.preprocess.size
        name, settings = nearest_recipe(self.recipe)
        numeric: dict[str, Any] = {}
        if self.engine == "torch":
            numeric = {"device": self.numeric.device, "precision": self.numeric.dtype}
            if self.numeric.device == "cpu":
                numeric["threads"] = self.numeric.threads
            else:
                numeric["deterministic"] = self.numeric.deterministic
        return {
            "recipe": name,
            "seed": self.seed,
            "size": str(height) if height == width else f"{height}x{width}",
            "stream": self.streamed,
            "classes": None if self.classes is None else json.dumps(list(self.classes), ensure_ascii=False),
            "weights": None if self.started_from is None else self.started_from.path,
            "settings": settings,
            "engine": None if self.engine == "torch" else self.engine,
            **numeric,
        }


def nearest_recipe(recipe: Recipe) -> tuple[str, list[str]]:
    """The shipped recipe that is nearest, and the settings that differ from it; precision is a numeric setting."""
    values = dict(recipes.leaves(recipe.model_dump(mode="json")))
    differing = {}
    for name in recipes.shipped():
        known = dict(recipes.leaves(recipes.load(name).model_dump(mode="json")))
        differing[name] = [key for key, value in values.items() if key not in known or known[key] != value]
    nearest = min(differing, key=lambda name: len(differing[name]))
    return nearest, [f"{key}={_setting(values[key])}" for key in differing[nearest] if key != "precision"]


def _setting(value: Any) -> str:
    """A value as `--set` reads it: a text as it is where it comes back as that text, all else as TOML."""
    if value is None:
        return "none"
    if isinstance(value, str) and recipes.assignment(f"key={value}") == {"key": value}:
        return value
    return json.dumps(value, ensure_ascii=False)
