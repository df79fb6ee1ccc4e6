"""`convlens predict`: labels for images."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convlens.base.errors import InputError
from convlens.cli.common import Device, Json, UserModel, console, emit, refuse_options_of_runs

if TYPE_CHECKING:
    from rich.console import Console

    from convlens.classify.classifier import Prediction
    from convlens.deploy.predictions import Failure


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or an ONNX file that `export` wrote.", show_default=False)],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Image files, folders, zips or tars; - for stdin.", show_default=False),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to rank.")] = 5,
    model: UserModel = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say what is in images, with exactly the preprocessing of training.

    Exit code 4: some files could not be read; 2: none could.
    """
    from convlens.deploy.predictions import Failure

    given = [getattr(sys.stdin, "buffer", None) if image == "-" else image for image in images]
    rows: list[dict[str, Any]] = []
    count, failures = 0, []
    out = console()
    for answer in _answers(run, given, top, model, device):
        count += 1
        if isinstance(answer, Failure):
            failures.append(answer)
        elif not as_json:
            _show(out, answer)
        if as_json:
            rows.append(_row(answer))
    if len(failures) == count:
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise InputError(f"{failures[0].error}{more}")
    if as_json:
        emit({"predictions": rows, "failed": len(failures)})
    if failures:
        _tell(failures, count)
        raise typer.Exit(4)


def _answers(
    run: Path, given: list[Any], top: int, model: str | None, device: str | None
) -> "Iterator[Prediction | Failure]":
    from convlens.classify.classifier import Classifier, is_onnx

    if not is_onnx(run):
        from convlens import api

        return api.load(run, model=model, device=device).stream(given, top=top)
    from convlens.deploy import predictions

    refuse_options_of_runs(run, model, device)
    return predictions.stream(Classifier.from_onnx(run), given, top=top)


def _tell(failures: "list[Failure]", count: int) -> None:
    err = console(as_json=True)
    for failure in failures:
        err.print(f"error: {failure.error}", markup=False, soft_wrap=True)
    err.print(f"{len(failures):,} of {count:,} files could not be read", markup=False)


def _show(out: "Console", answer: "Prediction") -> None:
    from rich.markup import escape

    from convlens.base.words import percent

    others = ", ".join(f"{escape(label)} {percent(p, 1)}" for label, p in answer.top[1:3])
    out.print(
        f"[bold]{escape(answer.label)}[/]  {percent(answer.probability, 1):>7}  {escape(answer.path or '-')}"
        + (f"  [dim](then {others})[/]" if others else ""),
        soft_wrap=True,
    )


def _row(answer: "Prediction | Failure") -> dict[str, Any]:
    from convlens.deploy.predictions import Failure

    if isinstance(answer, Failure):
        return {"path": answer.path, "error": answer.error}
    return {"path": answer.path, **answer.to_dict()}
