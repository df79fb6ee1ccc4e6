"""The schemas of what lies in a run folder. They only hold data: nothing in them names code that reading would run.

A run folder may come from a stranger. Whatever is read of it passes one of these, so that the rest of the program
meets only values that make sense; `parse` is the one place that turns a value that does not into an `InputError`.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from convlens.base import strict_json
from convlens.base.errors import InputError
from convlens.base.screen import printable

FORMAT_VERSION = 1
_LARGEST_SIDE = 8192  # pixels

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Scalar = str | int | float | bool | None
Argument = Scalar | list[Scalar | list[Scalar]]
"""An argument of a network, as in `hidden = [256, 128]`."""
Schema = TypeVar("Schema", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)


class _Open(_Record):
    """For objects whose further keys are shown to people and never computed with."""

    model_config = ConfigDict(extra="allow")


def _fits(schema: type[_Record]) -> AfterValidator:
    """For a field that stays a dictionary: it must fit a schema."""

    def fits(value: dict[str, Any]) -> dict[str, Any]:
        schema.model_validate(value)
        return value

    return AfterValidator(fits)


class ModelRecord(_Record):
    """Which network. `zoo` networks are rebuilt by name; a `file` or `live` one the user must hand over again.

    file: where the file of a `file` network lay, as an absolute path; only ever shown.
    """

    source: Literal["zoo", "file", "live"]
    name: str = Field(max_length=4096)
    file: str | None = Field(default=None, max_length=4096)
    arguments: dict[str, Argument] = {}
    whitening: Literal[0, 3, 5] = 0
    input: list[Annotated[int, Field(ge=1, le=_LARGEST_SIDE)]] = Field(min_length=3, max_length=3)
    parameters: Count


class LeftOut(_Record):
    """Picture files that were not used: how many, how many for each reason, and the first 20 as [path, reason]."""

    count: Count = 0
    reasons: dict[str, Count] = {}
    files: list[list[str]] = []


class DataRecord(_Record):
    """Which images, how they were divided, what was left out, and whether they are decoded when they are needed.

    named: whether the user named the classes.
    turned: how many pictures an EXIF tag turned or mirrored.
    """

    source: str
    name: str
    fingerprint: str
    counts: dict[str, Count]
    split: str
    streamed: bool = False
    named: bool = False
    left_out: LeftOut = LeftOut()
    turned: Count = 0


class StartedFrom(_Record):
    """The weights that a run started from: a file or a run folder, and the SHA-256 of its weights."""

    path: str = Field(max_length=4096)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ProcessRecord(_Record):
    """One of the processes that worked on a run: seconds in all and of training, up to its last save.

    started: date and time, UTC.
    changed: what was not as when the run began, in words; the bits of the result may hang on it.
    together: how many processes trained at once. fast: whether their sums were added in the order of the moment.
    waiting: the share of the time of training that the first of them waited for the others; None for one alone.
    """

    started: str = Field(max_length=100)
    total: float = Field(ge=0)
    train: float = Field(ge=0)
    changed: list[str] = []
    together: Positive = 1
    fast: bool = False
    waiting: Fraction | None = None


class Stopped(_Record):
    """Why a run ended before its last epoch. Epochs count from 1; patience: epochs without a better result."""

    reason: Literal["early_stopping", "budget"] = "early_stopping"
    epoch: Count
    planned: Count
    best_epoch: Count
    patience: Count

    def __str__(self) -> str:
        if self.reason == "budget":
            return (
                f"the time was up in epoch {self.epoch} of {self.planned}; the weights are those of epoch "
                f"{self.best_epoch}"
            )
        epochs = "1 epoch" if self.patience == 1 else f"{self.patience} epochs"
        return (
            f"stopped early, after epoch {self.epoch} of {self.planned}: no better validation result for {epochs} "
            f"(the best is that of epoch {self.best_epoch})"
        )


class _Numeric(_Record):
    """See `training.settings.Numeric`."""

    device: str = Field(pattern=r"^(cpu|cuda|mps)(:\d{1,3})?$")
    dtype: Literal["float32", "bfloat16"]
    channels_last: bool
    threads: int = Field(ge=1, le=4096)
    compile: bool = False
    deterministic: bool = False


class _Fractions(_Open):
    """What is needed of a recipe to divide the images again; `training.recipe` knows the rest."""

    val_fraction: float = Field(ge=0, lt=1)
    test_fraction: float = Field(gt=0, lt=1)


class _Score(_Open):
    accuracy: Fraction
    loss: float


class _Tested(_Score):
    n: Count


class _Seconds(_Open):
    total: float
    train: float


class _Results(_Open):
    epochs: Count
    best_epoch: Count
    val: _Score | None
    test: _Tested
    seconds: _Seconds
    images_per_second: float | None = None
    stopped: Stopped | None = None


class RunRecord(_Record):
    """Everything about a run but its weights.

    resolved: the values of recipe settings that the images or the machine decided, by dotted key.
    unused: dotted keys of recipe settings that have no effect on this run, because of others.
    started_from: where the first weights came from, if they were not drawn.
    weights_sha256: of the whole file weights.safetensors, once the run is finished; None in runs of earlier versions.
    """

    format_version: int = FORMAT_VERSION
    created: str = Field(max_length=100)
    model: ModelRecord
    classes: list[str] = Field(min_length=1)
    preprocess: dict[str, Any]
    recipe: Annotated[dict[str, Any], _fits(_Fractions)]
    resolved: dict[str, Scalar] = {}
    unused: list[str] = []
    seed: int
    numeric: Annotated[dict[str, Any], _fits(_Numeric)]
    engine: Literal["torch", "numpy"] = "torch"
    data: DataRecord
    versions: dict[str, str]
    processes: list[ProcessRecord] = []
    results: Annotated[dict[str, Any], _fits(_Results)] | None = None
    started_from: StartedFrom | None = None
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="before")
    @classmethod
    def _migrate(cls, value: Any) -> Any:
        version = value.get("format_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(f"format_version {version} is newer than this Convlens knows ({FORMAT_VERSION}); upgrade")
        return value

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        size = [self.preprocess.get("channels"), *_sides(self.preprocess.get("size"))]
        if size != self.model.input:
            raise ValueError(f"preprocess makes pictures of {size}, model.input says {self.model.input}")
        return self

    @property
    def batch_size(self) -> int:
        """Images of a batch in training: what was asked for, or what became of "auto"."""
        said = self.resolved.get("batch_size", self.recipe.get("batch_size"))
        return said if isinstance(said, int) else 1

    @classmethod
    def parse(cls, text: str, where: str) -> "RunRecord":
        """Reads the text of a `run.json`. Raises `InputError` naming the first field that is wrong."""
        return checked(cls, strict_json.loads(text, where), f"{where} is not a valid run.json")


def _sides(size: Any) -> list[Any]:
    return list(size) if isinstance(size, (list, tuple)) else [size]


class Best(_Record):
    """The best epoch so far (counted from 1), by the validation images."""

    epoch: Positive
    accuracy: Fraction
    loss: float


class PlateauState(_Record):
    """See `training.schedules.Plateau`."""

    factor: float = Field(gt=0)
    best: float | None
    waited: Count


class Checkpoint(_Record):
    """The JSON value of `last.safetensors`: where the run stands. See `training.callbacks.checkpoint`.

    parts: [loss, correct, seen], summed over the epoch, at the end of each part of it, in runs of few epochs.
    moved: by module path how far the last step of an epoch moved its weights, see `training.callbacks.layers`.
    engine: what the engine keeps besides arrays: numbers by name, or dictionaries of them.
    """

    epoch: Count
    step: Count
    best: Best | None
    epochs_since_best: Count
    plateau: PlateauState
    parts: list[list[float]] = []
    moved: dict[str, float] = {}
    engine: dict[str, float | int | bool | str | dict[str, float | int] | None]


class Metrics(_Open):
    """A line of `metrics.jsonl`. layers: figures by module path, see `training.callbacks.layers`."""

    __pydantic_extra__: dict[str, float | int | Annotated[list[float], Field(max_length=1000)] | None]
    epoch: Positive
    layers: dict[str, dict[str, float]] = {}


def checked(schema: type[Schema], value: Any, wrong: str) -> Schema:
    """The value as the schema has it. Raises `InputError`, which begins with `wrong`, where it does not fit."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = printable(".".join(map(str, first["loc"])))[:200] or "file"
        raise InputError(f"{wrong}: {field}: {printable(first['msg'])[:300]}") from None
