"""`convlens predict`: labels for images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convlens.base.errors import InputError
from convlens.cli.common import Device, Json, UserModel, console, emit


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files or folders.", show_default=False)
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to rank.")] = 5,
    model: UserModel = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say what is in images, with exactly the preprocessing of training."""
    from convlens import api
    from convlens.deploy.predictor import Failure

    found = api.load(run, model=model, device=device).predict(list(images), top=top)
    failures = [answer for answer in found if isinstance(answer, Failure)]
    if len(failures) == len(found):
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0].error}{more}")
    if as_json:
        emit({"predictions": [_row(answer) for answer in found]})
        return
    from rich.markup import escape

    out = console()
    for answer in found:
        if isinstance(answer, Failure):
            out.print(f"[red]error[/]   {escape(answer.error)}", soft_wrap=True)
            continue
        others = ", ".join(f"{escape(label)} {100 * p:.1f} %" for label, p in answer.top[1:3])
        out.print(
            f"[bold]{escape(answer.label)}[/]  {100 * answer.probability:5.1f} %  {escape(str(answer.path))}"
            + (f"  [dim](then {others})[/]" if others else ""),
            soft_wrap=True,
        )


def _row(answer: Any) -> dict[str, Any]:
    if hasattr(answer, "error"):
        return {"path": answer.path, "error": answer.error}
    top = [{"label": label, "probability": p} for label, p in answer.top]
    return {"path": answer.path, "label": answer.label, "probability": answer.probability, "top": top}
