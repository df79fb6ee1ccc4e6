"""The schema of `run.json`. It only holds data: nothing in it names code that reading it would run."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from convlens.base.errors import InputError

FORMAT_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class ModelRecord(_Record):
    """Which network. `zoo` networks are rebuilt by name; a `file` or `live` one the user must hand over again."""

    source: Literal["zoo", "file", "live"]
    name: str = Field(max_length=4096)
    arguments: dict[str, str | int | float | bool | None] = {}
    whitening: int = 0
    input: list[int] = Field(min_length=3, max_length=3)
    parameters: int


class DataRecord(_Record):
    """Which images, how they were divided, and whether they were to be decoded when they are needed."""

    source: str
    name: str
    fingerprint: str
    counts: dict[str, int]
    split: str
    streamed: bool = False


class RunRecord(_Record):
    """Everything about a run but its weights."""

    format_version: int = FORMAT_VERSION
    created: str
    model: ModelRecord
    classes: list[str] = Field(min_length=1)
    preprocess: dict[str, Any]
    recipe: dict[str, Any]
    seed: int
    numeric: dict[str, Any]
    engine: Literal["torch", "numpy"] = "torch"
    data: DataRecord
    versions: dict[str, str]
    results: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _migrate(cls, value: Any) -> Any:
        version = value.get("format_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(f"format_version {version} is newer than this Convlens knows ({FORMAT_VERSION}); upgrade")
        return value

    @classmethod
    def parse(cls, text: str, where: str) -> "RunRecord":
        """Reads the text of a `run.json`. Raises `InputError` naming the first field that is wrong."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "file"
            raise InputError(f"{where} is not a valid run.json: {field}: {first['msg']}") from None
