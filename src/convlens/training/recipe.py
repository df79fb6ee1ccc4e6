"""The recipe: every setting of a training run, as data. Read from TOML, checked, completed, stored in `run.json`."""

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from convlens.base import files
from convlens.base.errors import InputError, nearest
from convlens.base.words import short
from convlens.data.augment import AugmentSettings
from convlens.runs.record import Argument

_LARGEST = 1 << 20  # bytes of a recipe file


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _none_of_the_data(arguments: dict[str, Argument]) -> dict[str, Argument]:
    for key in ("num_classes", "in_channels", "image_size", "whitening", "reference"):
        if key in arguments:
            others = {"image_size": "set it by size", "whitening": "set it by the key whitening"}
            raise ValueError(f"{key} is no argument to set here: {others.get(key, 'it follows from the images')}")
    return arguments


Beta = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Optimizer(_Section):
    """`lr` is the peak learning rate. Decoupled weight decay spares biases and normalization layers."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "muon"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    alpha: Beta = 0.99  # rmsprop: how much of the mean of squared gradients is kept (Keras: rho, 0.9)
    centered: bool = False  # rmsprop: divides by the deviation of the gradient, not by its size
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # factor from a part of the network to the one below it
    bias_lr: float = Field(default=1.0, gt=0)  # factor on the learning rate of biases and normalization parameters
    muon_normalize: bool = False  # filters kept at constant norm, for networks with batch norm
    muon_lr: float = Field(default=0.05, gt=0)  # of the filters under muon; `lr` then serves the rest (sgd)


class Schedule(_Section):
    """How the learning rate goes over the run, in steps. Fractions are of the whole run."""

    name: Literal["constant", "cosine", "one-cycle", "triangular", "step", "plateau"] = "one-cycle"
    warmup: float = Field(default=0.2, ge=0, lt=1)
    final: float = Field(default=0.0, ge=0, le=1)
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    gamma: float = Field(default=0.1, gt=0, le=1)
    patience: int = Field(default=3, ge=1)


class PreprocessSettings(_Section):
    """What the network sees of a pixel: mean 0 and deviation 1 over the training images, [0, 1], or [-1, 1]."""

    scale: Literal["standard", "unit", "symmetric"] = "standard"


class Recipe(_Section):
    """Every setting of a training run. Keys are those of the TOML files; all have defaults.

    `epochs` of `head = "features"` are fits of the output layer; `fine_tune` more epochs then train the rest, too.
    `epochs = "auto"` spends `budget` images, within 3 to `max_epochs` epochs. `batch_size = "auto"` takes 32 to 256
    images, so that an epoch has at least 20 steps. `val_fraction = 0` trains on
    everything and keeps the last weights (a fixed budget, as speed records do).
    """

    epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    budget: int = Field(default=600_000, ge=1)
    max_epochs: int = Field(default=60, ge=1)
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 128
    eval_batch_size: int = Field(default=500, ge=1)
    val_fraction: float = Field(default=0.1, ge=0, lt=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced", "auto"] | tuple[Weight, ...] = "none"
    l1: float = Field(default=0.0, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    lookahead: float | None = Field(default=None, gt=0, lt=1)
    identity_start: bool = False
    whitening: Literal[0, 3, 5] = 0  # side of the patches of a frozen whitening layer before the network; 0: none
    head: Literal["fresh", "features"] = "fresh"  # "features": only the output layer, fitted on what the rest gives
    fine_tune: Annotated[int, Field(ge=0)] | Literal["auto"] = (
        "auto"  # epochs after the fits; "auto": if a budget has time
    )
    frozen: tuple[str, ...] = ()  # paths of modules that are not trained; their batch norms stay in inference mode
    views: Literal["none", "mirror", "mirror+shift"] = "none"
    early_stopping: int | None = Field(default=None, ge=1)  # epochs without a better validation result
    shards: Annotated[int, Field(ge=1, le=1024)] | None = None  # of a batch, added in a fixed order: for --processes
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False  # torch.compile; needs a C++ compiler (CPU) or Triton (GPU), and time before the first step
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    preprocess: PreprocessSettings = PreprocessSettings()
    augment: AugmentSettings = AugmentSettings()
    model: Annotated[dict[str, Argument], AfterValidator(_none_of_the_data)] = {}

    def epochs_for(self, images: int) -> int:
        """The number of epochs for a training set of that many images: fits of an output layer count, too."""
        after = self.fine_tune if self.head == "features" and self.fine_tune != "auto" else 0
        return self._own_epochs(images) + after

    def fits_for(self, images: int) -> int:
        """How many of them are fits of the output layer: they come first."""
        return self._own_epochs(images) if self.head == "features" else 0

    def _own_epochs(self, images: int) -> int:
        if isinstance(self.epochs, int):
            return self.epochs
        return max(3, min(self.max_epochs, round(self.budget / images)))

    def batch_size_for(self, images: int) -> int:
        """The batch size for a training set of that many images."""
        if isinstance(self.batch_size, int):
            return min(self.batch_size, images)
        return min(max(32, min(256, images // 20)), images)


SECTIONS: dict[str, type[BaseModel]] = {
    "optimizer": Optimizer, "schedule": Schedule, "preprocess": PreprocessSettings, "augment": AugmentSettings,
}  # fmt: skip


def parse(values: dict[str, Any], where: str) -> Recipe:
    """Checks a nested dictionary. Raises `InputError` naming the key, its place and the nearest right key."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"] if isinstance(part, (str, int))]
        if first["type"] == "extra_forbidden":
            raise _unknown_key(path, where) from None
        if path[:1] == ["model"] and len(path) > 1:
            raise InputError(
                f"{where}: model.{path[1]}: expected a number, a string, true, false, none, or a list of these "
                f"(got {short(values['model'][path[1]])})"
            ) from None
        known = [part for part in path if part.isidentifier() and part in _all_keys()]
        raise InputError(
            f"{where}: {'.'.join(known)}: {first['msg'].removeprefix('Value error, ')} (got {short(first['input'])})"
        ) from None


def _all_keys() -> set[str]:
    return {key for section in (Recipe, *SECTIONS.values()) for key in section.model_fields}


def _unknown_key(path: list[str], where: str) -> InputError:
    if len(path) > 1 and path[0] not in Recipe.model_fields:
        path = path[:1]
    section = SECTIONS.get(path[0], Recipe) if len(path) > 1 else Recipe
    prefix = f"{path[0]}." if len(path) > 1 else ""
    homes = [f"{name}.{path[-1]}" for name, other in SECTIONS.items() if path[-1] in other.model_fields]
    homes += [path[-1]] if path[-1] in Recipe.model_fields else []
    if homes:  # the right key in the wrong place is a common slip
        hint = f", did you mean {homes[0]!r}?"
    else:
        known = [prefix + key for key in section.model_fields]
        hint = nearest(prefix + path[-1], known) or f"; known here: {', '.join(known)}"
    return InputError(f"{where}: unknown key {short(prefix + path[-1])}{hint}")


def shipped() -> list[str]:
    """Names of the recipes inside the package."""
    folder = resources.files("convlens.training") / "recipes"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def _read(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe with all that it builds on. above: the recipes that build on this one."""
    if name in above:
        raise InputError(f"recipe {name} builds on itself: {' -> '.join([*above, name])}; change one `base`")
    values = _parsed(_text(name), f"recipe {name}")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or not base:
        raise InputError(f"recipe {name}: base: must be the name of a recipe or a TOML file (got {base!r})")
    return merged(_read(base, (*above, name)), values)


def _text(name: str) -> str:
    if name in shipped():
        return (resources.files("convlens.training") / "recipes" / f"{name}.toml").read_text("utf-8")
    if not name.endswith(".toml"):
        raise InputError(f"unknown recipe {name!r}{nearest(name, shipped())}; shipped: {', '.join(shipped())}")
    if not Path(name).is_file():
        raise InputError(f"there is no recipe file {name}")
    return files.read_text(Path(name), _LARGEST)


def _parsed(text: str, where: str) -> dict[str, Any]:
    """TOML as a nested dictionary; one `InputError` for whatever the parser cannot take."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{where} is not valid TOML: brackets are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and a number of more digits than Python reads
        raise InputError(f"{where} is not valid TOML: {str(error).splitlines()[0]}") from None


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two nested dictionaries as one; `above` wins."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def assignment(text: str) -> dict[str, Any]:
    """`optimizer.lr=0.1` as a nested dictionary. The value is read as TOML; anything else is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {short(text)}: expected key=value, such as optimizer.lr=0.1")
    if len(key.split(".")) > 8:
        raise InputError(f"--set {short(text)}: the key has too many parts; expected one such as optimizer.lr")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except RecursionError:
        raise InputError(f"--set {short(text)}: brackets are nested too deeply") from None
    except ValueError:
        parsed = None if value.strip().lower() in ("none", "null") else value.strip()
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return parsed


def leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as (dotted key, value)."""
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        rows += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return rows


def named(recipe: str | dict[str, Any] | Recipe | None, settings: Sequence[str]) -> set[str]:
    """The dotted keys that a user set one by one: in a dictionary, and by assignments."""
    values = recipe if isinstance(recipe, dict) else {}
    for text in settings:
        values = merged(values, assignment(text))
    return {key for key, _ in leaves(values)}


def load(
    recipe: str | dict[str, Any] | Recipe | None = None,
    *,
    model: str | None = None,
    family: str | None = None,
    settings: Sequence[str] = (),
    **overrides: Any,
) -> Recipe:
    """The recipe to use: a shipped name, a TOML file or a dictionary; else the model's own, its family's, `default`.

    Args:
        recipe: what the user asked for, or None.
        model, family: whose own recipe to look for when nothing was asked for.
        settings: assignments such as "optimizer.lr=0.1", applied last.
        overrides: top-level keys; None means not given.
    """
    if isinstance(recipe, Recipe):
        values, where = recipe.model_dump(), "recipe"
    elif isinstance(recipe, dict):
        values, where = recipe, "recipe"
    else:
        own = next((name for name in (model, family) if name in shipped()), "default")
        where = f"recipe {recipe or own}"
        values = _read(recipe or own)
    values = merged(values, {key: value for key, value in overrides.items() if value is not None})
    for text in settings:
        values = merged(values, assignment(text))
    return parse(values, where)
