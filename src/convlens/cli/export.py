"""`convlens export`: a run's weights as a file for others."""

from pathlib import Path
from typing import Annotated

import typer

from convlens.base.errors import InputError, nearest
from convlens.cli.common import Json, console, emit

FORMATS = ("text",)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    format: Annotated[str, typer.Option(help="text: name, shape and values of every parameter.")] = "text",
    out: Annotated[Path | None, typer.Option(help="The file to write. (default: <run>/weights.txt)")] = None,
    as_json: Json = False,
) -> None:
    """Write a run's weights in another format, and check what was written."""
    from convlens.deploy.text import export_text
    from convlens.runs import RunFolder

    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}{nearest(format, FORMATS)}; known: {', '.join(FORMATS)}")
    folder = RunFolder(run).require()
    path = out or folder.path / "weights.txt"
    worst = export_text(folder, path)
    if as_json:
        emit({"path": str(path), "max_error": worst, "bytes": path.stat().st_size})
    else:
        text = f"wrote {path} ({path.stat().st_size:,} bytes, read back with difference {worst:g})"
        console().print(text, markup=False, soft_wrap=True)
