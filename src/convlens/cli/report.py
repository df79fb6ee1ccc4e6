"""`convlens report`: the HTML report of a run, written again."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convlens.cli.common import Device, Json, Quiet, UserModel, console, emit


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    lang: Annotated[str, typer.Option(help="The language of the page: en or zh (Chinese).")] = "en",
    examine: Annotated[
        bool,
        typer.Option(
            "--examine",
            help="First look at all images of the run again: for labels that may be wrong, and for test images "
            "that look like training images. Needs cleanlab (the extra explain).",
        ),
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="With --examine: where the run's images lie now. (default: where they were)")
    ] = None,
    model: UserModel = None,
    device: Device = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write report.html into a run folder: curves, confusion matrix, calibration, mistakes, layers, settings.

    One file that opens offline.
    """
    if examine:
        from convlens import api

        path = api.load(run, model=model, device=device).report(language=lang, examine=True, data=data, quiet=quiet)
    else:
        from convlens import report as reports

        path = reports.write(run, lang)
    if as_json:
        emit({"report": str(path), **(_found(run) if examine else {})})
    else:
        console().print(f"wrote {path}", markup=False, soft_wrap=True)


def _found(run: Path) -> dict[str, Any]:
    """What an examination found, without its layers and pictures."""
    from convlens.report.examine import record

    stored = record.load(run)
    assert stored is not None
    found = stored[0].model_dump(mode="json", include={"labels", "duplicates", "units", "left_out"})
    if found["labels"] is not None:
        found["labels"]["list"] = str(run / "label_errors.csv")
    return found
