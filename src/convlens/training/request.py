"""What was asked for, and the job made of it."""

import operator
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from convlens import data
from convlens.base.errors import InputError, nearest
from convlens.classify.evaluation import Evaluation
from convlens.data.layout.classes import names_of
from convlens.runs import RunFolder, RunRecord
from convlens.training.events import Listener
from convlens.training.recipe import Recipe
from convlens.training.settings import Numeric

DEFAULT_MODEL, DEFAULT_DATA, DEFAULT_SEED = "lenet5", "digits", 0
ENGINES = ("torch", "numpy")
MOST_THREADS = 4096


@dataclass
class Request:
    """What was asked for. None means not given: then the run's own value (on a resume) or the default holds."""

    model: str | nn.Module | None = None
    data: Any = None
    recipe: str | dict[str, Any] | Recipe | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    size: int | tuple[int, int] | None = None
    stream: bool = False
    classes: Any = None
    settings: Sequence[str] = ()
    out: Path | str | None = None
    resume: bool = False
    weights: Path | str | None = None
    engine: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    deterministic: bool = False
    tensorboard: bool = True
    listeners: Sequence[Listener] = ()
    quiet: bool = False
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        """Makes plain values of what stands for them. Raises `InputError` for an argument of a wrong kind."""
        self.model = _model(self.model)
        if self.classes is not None:
            self.classes = names_of(self.classes)
        for name in ("epochs", "batch_size", "threads", "seed"):
            if getattr(self, name) is not None:
                setattr(self, name, _whole(name, getattr(self, name), least=None if name == "seed" else 1))
        if self.threads is not None and self.threads > MOST_THREADS:
            raise InputError(f"threads: {self.threads} is more than {MOST_THREADS:,}")
        if self.seed is not None and not abs(self.seed) < 1 << 63:
            raise InputError(f"seed {self.seed}: must lie within 63 bits, so that every reader of run.json can hold it")
        if not isinstance(self.settings, (list, tuple)) or not all(isinstance(text, str) for text in self.settings):
            raise InputError('settings: expected a list of assignments, as in ["optimizer.lr=0.1"]')
        if isinstance(self.recipe, os.PathLike):
            self.recipe = os.fspath(self.recipe)
        if not isinstance(self.recipe, (str, dict, Recipe, type(None))):
            raise InputError(f"recipe: expected a name, a TOML file, a dictionary or a Recipe, {_kind(self.recipe)}")
        for name in ("out", "weights"):
            if not isinstance(getattr(self, name), (str, os.PathLike, type(None))):
                raise InputError(f"{name}: expected a path, {_kind(getattr(self, name))}")
        for name in ("engine", "device", "precision"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InputError(f"{name}: expected a word, {_kind(value)}")
        if self.engine is not None and self.engine not in ENGINES:
            raise InputError(f"unknown engine {self.engine!r}{nearest(self.engine, ENGINES)}; {' or '.join(ENGINES)}")


def _kind(value: Any) -> str:
    return f"not {'a class' if isinstance(value, type) else f'a value of type {type(value).__name__}'}"


def _model(model: Any) -> str | nn.Module | None:
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if isinstance(model, (str, nn.Module, type(None))):
        return model
    called = f": call it, as in {model.__name__}()" if callable(model) and hasattr(model, "__name__") else ""
    raise InputError(f'model: expected a name, "file.py:Function" or an nn.Module, {_kind(model)}{called}')


def _whole(name: str, value: Any, least: int | None) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputError(f"{name}: expected a whole number, not {str(value)[:40]!r}")
    number = operator.index(value)
    if least is not None and number < least:
        raise InputError(f"{name}: must be at least {least}, not {str(number)[:40]}")
    return number


def parse_size(size: Any) -> int | tuple[int, int] | None:
    """An int, a pair (height, width), or what the command line has for one: "64" or "48x64"."""
    if size is None:
        return None
    sides = size.lower().split("x") if isinstance(size, str) else size
    sides = list(sides) if isinstance(sides, (tuple, list)) else [sides]
    sides = [int(side) if isinstance(side, str) and side.isdecimal() and len(side) < 10 else side for side in sides]
    if len(sides) not in (1, 2) or not all(hasattr(side, "__index__") and not isinstance(side, bool) for side in sides):
        raise InputError(f"size: expected pixels, as in 64, or height and width, as in 48x64; not {str(size)[:40]!r}")
    sides = [_whole("size", side, least=1) for side in sides]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


@dataclass
class Job:
    """A request made definite."""

    folder: RunFolder
    record: RunRecord
    recipe: Recipe
    numeric: Numeric
    module: nn.Module
    preprocess: data.Preprocess
    splits: data.Splits
    notes: list[str]
    changed: list[str]  # what is not as when the run began


@dataclass
class Finished:
    """A run that has been trained and judged once on its test set."""

    folder: RunFolder
    record: RunRecord
    module: nn.Module
    evaluation: Evaluation
    test: data.Images
