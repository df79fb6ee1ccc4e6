"""What the commands share: options, output, and the one JSON object on the last line of stdout."""

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from torch import nn

    from convlens.classify.classifier import Classifier

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")]
RunOrModel = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_MODEL",
        help="A run folder, a name of `convlens models`, or path/to/file.py:Function.",
        show_default=False,
    ),
]
OwnImages = Annotated[
    str | None, typer.Option(metavar="SRC", help="The run's own images, if they are no longer where they were.")
]
UserModel = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="FILE.py:FUNCTION", help="For a run of your own network: the file that defines it."
    ),
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or mps. (default: what the run was trained on, if it is here)")
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Names of the classes, one per line: those of the folders that count, or of the labels 0, 1, ...",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]


def with_options(command: Callable[..., None], options: Mapping[str, Any]) -> inspect.Signature:
    """The signature of a command with rows of a table of options (`training.options`) in place of its `**options`."""
    own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    rows = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=row.default if row.typed is bool else None,
            annotation=Annotated[
                row.typed if row.typed is bool else row.typed | None,
                typer.Option(*_flags(name, row), help=row.help, metavar=row.metavar),
            ],
        )
        for name, row in options.items()
        if row.typed is not None
    ]
    return inspect.Signature([*own, *rows])


def _flags(name: str, row: Any) -> list[str]:
    """What Typer is told of an option's name: a switch that is off has no --no-... of its own."""
    if row.flag:
        return row.flag.split()
    return [f"--{name.replace('_', '-')}"] if row.typed is bool and not row.default else []


def emit(result: dict[str, Any]) -> None:
    """Prints the JSON object that scripts read. Call once, at the end. NaN becomes null, as JSON has none.

    Raises:
        InputError: stdout is closed or full, or its reader has gone: whoever asked for the object will not get it.
    """
    from convlens.base.errors import InputError

    text = json.dumps(_finite(result), ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(_finite(result), allow_nan=False)
    print(text, flush=True)
    lost = getattr(sys.stdout, "lost", None)
    if lost is not None:
        raise InputError(f"the JSON object could not be written to stdout: {lost}")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def refuse_options_of_runs(file: Path, model: str | None, device: str | None) -> None:
    """Raises `InputError` for what an ONNX file has no use for."""
    from convlens.base.errors import InputError

    if model is not None or device not in (None, "auto", "cpu"):
        raise InputError(
            f"{file} is an ONNX file: it needs no --model and runs on the CPU; leave --model and --device away"
        )


def console(as_json: bool = False) -> "Console":
    """Where a command writes for people: stdout, or stderr when stdout belongs to the JSON object."""
    from convlens.base import screen

    return screen.console(stderr=as_json)


UserInput = Annotated[
    str | None,
    typer.Option("--input", metavar="CxHxW", help="Shape of one input, such as 3x224x224. (default: its own)"),
]


def parse_shape(text: str) -> tuple[int, ...]:
    """A shape as people write it, "3x224x224". Raises `InputError` for anything else."""
    from convlens.base.errors import InputError

    parts = text.lower().replace("×", "x").split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--input {text!r}: expected numbers with x between them, channels first, such as 3x224x224")
    return tuple(map(int, parts))


def resolve_module(
    reference: str, *, input: str | None = None, model: str | None = None
) -> tuple["nn.Module", tuple[int, ...]]:
    """The network that MODEL_OR_RUN names, and the shape of one input.

    Args:
        reference: a name of the zoo, `path/to/file.py:Function`, or a run folder.
        input: "CxHxW" as the user typed it. A network of the zoo is built for it; a run must be able to take it.
        model: for a run of the user's own network, the file that defines it.

    Raises:
        InputError: nothing of that name, or a file's network without `input`.
    """
    from pathlib import Path

    from convlens import models
    from convlens.base.errors import InputError
    from convlens.models.build import build, is_file_reference
    from convlens.models.lazy import settle_lazy_layers

    shape = None if input is None else parse_shape(input)
    size = {"in_channels": shape[0], "image_size": shape[1:]} if shape and len(shape) == 3 else {}
    if is_file_reference(reference):
        if shape is None:
            raise InputError(f"say what {reference} takes: --input CxHxW, such as --input 3x224x224")
        module = build(reference, **size)
        settle_lazy_layers(module, shape)
        return module, shape
    if Path(reference).is_dir():
        from convlens.classify.saved import load_module
        from convlens.runs import RunFolder

        folder = RunFolder(reference)
        record = folder.read_record()
        return load_module(folder, record, model), shape or tuple(record.model.input)
    if "/" in reference or reference.endswith(".py"):
        raise InputError(f"there is no run folder {reference} (a network in a file is path/to/file.py:Function)")
    return models.create(reference, **size), shape or models.get(reference).input


def resolve_classifier(
    reference: str, *, input: str | None, model: str | None, seed: int, device: str | None = None
) -> "Classifier":
    """The network of a run with its preprocessing; of a name or file with random weights, pixels divided by 255."""
    import torch

    from convlens.base.errors import InputError
    from convlens.base.progress import say
    from convlens.classify.classifier import Classifier
    from convlens.classify.device import choose
    from convlens.data.preprocess import Preprocess

    if Path(reference).is_dir():
        if input is not None:
            raise InputError("--input: a run has its own input size; leave it out")
        return Classifier.from_run(reference, model=model, device=device)
    torch.manual_seed(seed)
    module, shape = resolve_module(reference, input=input, model=model)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(
            f"{reference} takes an input of {'x'.join(map(str, shape))}, which is no picture of 1 or 3 channels"
        )
    say(f"{reference} is no run: its weights are random (seed {seed}), pixels are divided by 255")
    classes = _numbers(module.eval(), shape)
    place = choose(device)[0] if device else None
    return Classifier(module.to(place or "cpu"), Preprocess((shape[1], shape[2]), shape[0]), classes, place)


def _numbers(module: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Classes by their numbers."""
    import torch

    from convlens.classify.outputs import run, tensors_in

    with torch.no_grad():
        outputs = tensors_in(run(module, torch.zeros(1, *shape)))
    return tuple(map(str, range(outputs[0].shape[-1] if outputs and outputs[0].ndim > 1 else 1)))
