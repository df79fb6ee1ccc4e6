"""What was asked for, and where it goes: the request, the job made of it, the run folder."""

import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from convlens import data
from convlens.base.errors import InputError
from convlens.inspection.evaluation import Evaluation
from convlens.runs import RunFolder, RunRecord
from convlens.training.recipe import Recipe
from convlens.training.settings import Numeric

DEFAULT_MODEL, DEFAULT_DATA, DEFAULT_SEED = "lenet5", "digits", 0
ENGINES = ("torch", "numpy")


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
    settings: tuple[str, ...] = ()
    out: Path | str | None = None
    resume: bool = False
    weights: Path | str | None = None
    engine: str | None = None
    device: str | None = None
    precision: str | None = None
    deterministic: bool = False
    tensorboard: bool = True
    quiet: bool = False
    started: float = field(default_factory=time.perf_counter)


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


@dataclass
class Finished:
    """A run that has been trained and judged once on its test set."""

    folder: RunFolder
    record: RunRecord
    module: nn.Module
    evaluation: Evaluation
    test: data.Images


def open_folder(request: Request) -> tuple[RunFolder, RunRecord | None]:
    if request.out is None:
        if request.resume:
            raise InputError("--resume needs --out DIR, the folder of the run to go on with")
        return RunFolder(fresh_path(request.model, request.data)), None
    folder = RunFolder(request.out)
    if not folder.holds_a_run():
        if folder.path.is_dir() and any(not _ours(p) for p in folder.path.iterdir()):
            raise InputError(f"--out {folder.path} is a folder with other things in it; choose a new or an empty one")
        if folder.path.exists() and not folder.path.is_dir():
            raise InputError(f"--out {folder.path} is a file; choose a folder")
        return folder, None
    if not request.resume:
        raise InputError(f"--out {folder.path} already holds a run; continue it with --resume or choose another folder")
    return folder, folder.read_record()


def _ours(path: Path) -> bool:
    """Whether a killed start may have left this file."""
    return path.name == ".lock" or (path.name.startswith(".") and path.name.endswith(".tmp"))


def fresh_path(model: str | nn.Module | None, source: Any) -> Path:
    """`runs/<model>-<data>-<time>`, with a number behind it where that exists already."""
    name = type(model).__name__ if isinstance(model, nn.Module) else (model or DEFAULT_MODEL).rpartition(":")[2]
    if isinstance(source, (str, Path)):
        images = Path(source).resolve().name.split(".")[0] or "data"
    else:
        images = DEFAULT_DATA if source is None else "arrays"
    words = [name, images, datetime.datetime.now().strftime("%Y%m%d-%H%M%S")]
    base = Path("runs") / "-".join("".join(c if c.isalnum() or c in "._-" else "-" for c in word) for word in words)
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path
