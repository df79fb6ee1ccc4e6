"""`convlens export`: a run's network as a file for others."""

from pathlib import Path
from typing import Annotated

import typer

from convlens.cli.common import Json, UserModel, console, emit
from convlens.deploy.exporters import exporters

_FORMATS = "; ".join(f"{name}: {exporter.about}" for name, exporter in exporters().items())


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    format: Annotated[str, typer.Option(help=f"{_FORMATS}.")] = "text",
    out: Annotated[
        Path | None, typer.Option(help="The file to write. (default: one in the run folder, such as weights.txt)")
    ] = None,
    model: UserModel = None,
    as_json: Json = False,
) -> None:
    """Write a run's network in another format, and check what was written."""
    from convlens import api

    path, worst = api.load(run, model=model).export(format, out)
    if as_json:
        emit({"path": str(path), "max_error": worst, "bytes": path.stat().st_size})
    else:
        text = f"wrote {path} ({path.stat().st_size:,} bytes, read back with difference {worst:g})"
        console().print(text, markup=False, soft_wrap=True)
