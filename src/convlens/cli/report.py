"""`convlens report`: the HTML report of a run, written again."""

from pathlib import Path
from typing import Annotated

import typer

from convlens.cli.common import Json, console, emit


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    lang: Annotated[str, typer.Option(help="The language of the page: en or zh (Chinese).")] = "en",
    as_json: Json = False,
) -> None:
    """Write report.html into a run folder: curves, confusion matrix, mistakes, kernels, settings. Opens offline."""
    from convlens import report as reports

    path = reports.write(run, lang)
    if as_json:
        emit({"report": str(path)})
    else:
        console().print(f"wrote {path}", markup=False, soft_wrap=True)
