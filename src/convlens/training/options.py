"""What training can be asked for: one table, from which the command line, the signature of `cl.train`, the checks of
both, and the command that trains a run again all follow. Imports no PyTorch.
"""

import inspect
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict

from convlens.base.errors import InputError, nearest

if TYPE_CHECKING:
    from convlens.training.events import Listener
    from convlens.training.recipe import Recipe

DEFAULT_MODEL, DEFAULT_DATA, DEFAULT_SEED = "lenet5", "digits", 0
ENGINES = ("torch", "numpy")
_MOST_THREADS = 4096
_MOST_PROCESSES = 1024

Size = int | tuple[int, int]


class Option(NamedTuple):
    """A row of the table.

    help: one sentence, for the command line and for `help(cl.train)`.
    check: makes a plain value of what was given, called with the option's name and the value; raises `InputError`.
    typed: what the command line reads it as; None for what only a Python program can hand over.
    flag: on the command line, if it is not the name. metavar: what stands for the value in the help there.
    default: what it is where it is not given. Most are None: then the run's own value (on a resume) or the recipe's.
    """

    help: str
    check: Callable[[str, Any], Any]
    typed: Any = str
    flag: str | None = None
    metavar: str | None = None
    default: Any = None


# ---- checks: name, value -> plain value


def whole(least: int | None = None, most: int | None = None) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise InputError(f"{name}: expected a whole number, not {str(value)[:40]!r}")
        number = operator.index(value)
        if least is not None and number < least:
            raise InputError(f"{name}: must be at least {least}, not {str(number)[:40]}")
        if most is not None and number > most:
            raise InputError(f"{name}: {number} is more than {most:,}")
        return number

    return check


def _seed(name: str, value: Any) -> int:
    number = whole()(name, value)
    if not abs(number) < 1 << 63:
        raise InputError(f"seed {number}: must lie within 63 bits, so that every reader of run.json can hold it")
    return number


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: expected a word, {kind(value)}")
    return value


def _engine(name: str, value: Any) -> str:
    if _word(name, value) not in ENGINES:
        raise InputError(f"unknown engine {value!r}{nearest(value, ENGINES)}; {' or '.join(ENGINES)}")
    return value


def _path(name: str, value: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name}: expected a path, {kind(value)}")
    return value


def _on(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, int)):
        raise InputError(f"{name}: expected True or False, {kind(value)}")
    return bool(value)


def parse_size(name: str, value: Any) -> Size:
    """An int, a pair (height, width), or what the command line has for one: "64" or "48x64"."""
    sides = value.lower().split("x") if isinstance(value, str) else value
    sides = list(sides) if isinstance(sides, (tuple, list)) else [sides]
    sides = [int(side) if isinstance(side, str) and side.isdecimal() and len(side) < 10 else side for side in sides]
    if len(sides) not in (1, 2) or not all(hasattr(side, "__index__") and not isinstance(side, bool) for side in sides):
        raise InputError(
            f"{name}: expected pixels, as in 64, or height and width, as in 48x64; not {str(value)[:40]!r}"
        )
    sides = [whole(least=1)(name, side) for side in sides]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def parse_budget(name: str, value: Any) -> float:
    """Seconds, from a number of them or from what the command line has for it: "90", "90s", "5m", "1h"."""
    text = str(value).strip().lower()
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        seconds = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        seconds = math.nan
    if isinstance(value, bool) or not 1 <= seconds <= 1e7:
        raise InputError(f"{name}: expected a time of at least a second, as in 90s, 5m or 1h; not {str(value)[:40]!r}")
    return seconds


def _recipe(name: str, value: Any) -> Any:
    from convlens.training.recipe import Recipe  # pydantic: not for the help

    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, (str, dict, Recipe)):
        raise InputError(f"recipe: expected a name, a TOML file, a dictionary or a Recipe, {kind(value)}")
    return value


def _settings(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise InputError(f'{name}: expected a list of words, as in ["optimizer.lr=0.1"] for settings')
    return tuple(value)


def _classes(name: str, value: Any) -> list[str]:
    from convlens.data.layout.classes import names_of  # NumPy: not for the help

    return names_of(value)


def _listeners(name: str, value: Any) -> tuple[Any, ...]:
    from convlens.training.events import Listener

    if not isinstance(value, (list, tuple)) or not all(isinstance(each, Listener) for each in value):
        raise InputError("listeners: expected a list of objects of convlens.training.events.Listener")
    return tuple(value)


def _seconds(name: str, value: Any) -> float:
    return float(value)


def kind(value: Any) -> str:
    return f"not {'a class' if isinstance(value, type) else f'a value of type {type(value).__name__}'}"


# ---- the table


class TrainOptions(TypedDict, total=False):
    """What `cl.train` and `convlens train` can be asked for, besides the network and the images."""

    recipe: Annotated[
        "str | os.PathLike[str] | dict[str, Any] | Recipe | None",
        Option("A recipe's name or TOML file. (default: the model's own)", _recipe),
    ]
    budget: Annotated[
        str | float | None,
        Option(
            "Time for all of it, as in 90s, 5m or 1h: as many epochs as fit, and an end when it is over.",
            parse_budget,
            metavar="TIME",
        ),
    ]
    epochs: Annotated[int | None, Option("Passes over the training images.", whole(1), typed=int)]
    find_lr: Annotated[bool, Option("Find the peak learning rate first, on a copy.", _on, typed=bool, default=False)]
    batch_size: Annotated[int | None, Option("Images per step.", whole(1), typed=int)]
    seed: Annotated[int | None, Option("Names all random numbers, the split included. (default: 0)", _seed, typed=int)]
    out: Annotated[Path | str | None, Option("Run folder. (default: runs/<model>-<data>-<time>)", _path, typed=Path)]
    resume: Annotated[bool, Option("Go on with the run in --out.", _on, typed=bool, default=False)]
    size: Annotated[
        Size | str | None,
        Option("Side of the network's input in pixels, or height x width.", parse_size, metavar="N|HxW"),
    ]
    stream: Annotated[
        bool,
        Option(
            "Decode pictures when needed. (default: if the disk cannot hold them all)", _on, typed=bool, default=False
        ),
    ]
    classes: Annotated[
        Any,
        Option(
            "Names of the classes, one per line: those of the folders that count, or of the labels 0, 1, ...",
            _classes,
            metavar="FILE",
        ),
    ]
    weights: Annotated[
        Path | str | None,
        Option("Start from the weights of a file or run; another head is replaced.", _path, typed=Path),
    ]
    from_: Annotated[
        Path | str | None,
        Option(
            "Fit a new output layer on the features of a run or of a trained network.", _path, flag="--from",
            metavar="RUN|NAME",
        ),
    ]  # fmt: skip
    stages: Annotated[
        int | None,
        Option(
            "With --from: 1, the output layer alone; 2, then the rest, from the top down. (default: 2 where a --budget "
            "has time)",
            whole(1, 2), typed=int, metavar="1|2",
        ),
    ]  # fmt: skip
    freeze: Annotated[
        Sequence[str],
        Option(
            "A part of the network that is not trained, as in features.0.", _settings, typed=list[str], metavar="PATH",
            default=(),
        ),
    ]  # fmt: skip
    settings: Annotated[
        Sequence[str],
        Option(
            "A recipe setting, as in optimizer.lr=0.1.", _settings, typed=list[str], flag="--set", metavar="KEY=VALUE",
            default=(),
        ),
    ]  # fmt: skip
    engine: Annotated[str | None, Option("torch, or numpy: readable arithmetic. (default: torch)", _engine)]
    device: Annotated[str | None, Option("auto, cpu, cuda or mps. (default: auto)", _word)]
    precision: Annotated[str | None, Option("auto, float32 or bfloat16. (default: auto)", _word)]
    threads: Annotated[
        int | None, Option("Of the processor. (default: one per core)", whole(1, _MOST_THREADS), typed=int)
    ]
    processes: Annotated[
        int | None,
        Option(
            "Train in so many processes of this machine, to the same bits for every number that divides the shards.",
            whole(1, _MOST_PROCESSES), typed=int, metavar="N",
        ),
    ]  # fmt: skip
    fast: Annotated[
        bool,
        Option(
            "With --processes: faster, and equal to rounding alone; each normalizes its own batch.", _on, typed=bool,
            default=False,
        ),
    ]  # fmt: skip
    max_restarts: Annotated[
        int | None,
        Option(
            "With --processes: so often all start again where one is lost. (default: 3)", whole(0, 1000), typed=int,
            metavar="N",
        ),
    ]  # fmt: skip
    deadline: Annotated[
        str | float | None,
        Option(
            "With --processes: how long to wait for one that does not answer. (default: 10m)", parse_budget,
            metavar="TIME",
        ),
    ]  # fmt: skip
    deterministic: Annotated[bool, Option("The same bits on a GPU too.", _on, typed=bool, default=False)]
    tensorboard: Annotated[bool, Option("Write TensorBoard events into the run folder.", _on, typed=bool, default=True)]
    log_steps: Annotated[
        int | None,
        Option("Print a line every N steps: loss and accuracy so far, rate.", whole(1), typed=int, metavar="N"),
    ]
    quiet: Annotated[bool, Option("Print no progress.", _on, typed=bool, flag="--quiet -q", default=False)]
    listeners: Annotated[
        "Sequence[Listener]",
        Option("Objects that are told of each step and epoch, see `training.events`.", _listeners, None, default=()),
    ]
    started: Annotated[float | None, Option("When the work began, as `time.perf_counter` tells it.", _seconds, None)]


OPTIONS: dict[str, Option] = {name: row.__metadata__[0] for name, row in TrainOptions.__annotations__.items()}
"""The rows by name."""


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """All options: those that were given as plain values, the others at their defaults; None means not given.

    Raises:
        InputError: an unknown option, with the nearest right one, or a value of a wrong kind.
    """
    for name in given.keys() - OPTIONS.keys():
        hint = nearest(name, (*OPTIONS, "model", "data")) or nearest(name, ("settings",))
        raise InputError(
            f"cl.train: unknown argument {name!r}{hint}; recipe settings go into settings=['optimizer.lr=0.1']"
        )
    found: Any = {}
    for name, row in OPTIONS.items():
        value = given.get(name)
        found[name] = row.default if value is None else row.check(name, value)
    return found


def words(options: Mapping[str, Any]) -> list[str]:
    """Options as words of the command line, in the order of the table. Values are those that the command line reads."""
    found: list[str] = []
    for name, row in OPTIONS.items():
        value = options.get(name, row.default)
        if row.typed is None or value is None or value == row.default:
            continue
        flag = (row.flag or f"--{name.replace('_', '-')}").split()[0]
        if row.typed is bool:
            found.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            for one in value if row.typed == list[str] else [value]:
                found += [flag, str(one)]
    return found


def described() -> str:
    """The table as text, a line per option."""
    return "\n".join(f"{name}: {row.help}" for name, row in OPTIONS.items())


def python_signature() -> inspect.Signature:
    """What `inspect` and `help()` show for `cl.train`."""
    kinds = inspect.Parameter
    named = [
        kinds(name, kinds.KEYWORD_ONLY, default=row.default, annotation=_kind_of(name)) for name, row in OPTIONS.items()
    ]
    given = [kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=None) for name in ("model", "data")]
    return inspect.Signature([*given, *named])


def _kind_of(name: str) -> Any:
    return TrainOptions.__annotations__[name].__origin__
