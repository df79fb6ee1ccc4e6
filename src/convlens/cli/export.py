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
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="onnx: pixels 0 to 255 of the network's size in, probabilities out. Decoding and resizing stay "
            "outside:"
            " no ONNX operation resizes bit for bit as training did.",
        ),
    ] = False,
    data: Annotated[
        str | None, typer.Option(metavar="SRC", help="The run's own images, if they are no longer where they were.")
    ] = None,
    model: UserModel = None,
    as_json: Json = False,
) -> None:
    """Write a run's network in another format, and check what was written."""
    from convlens import api

    settings = {"with_preprocessing": True} if with_preprocessing else {}
    path, worst = api.load(run, model=model).export(format, out, data=data, **settings)
    if as_json:
        emit({"path": str(path), "max_error": worst, "bytes": path.stat().st_size})
    else:
        text = f"wrote {path} ({path.stat().st_size:,} bytes, checked: largest difference {worst:.2g})"
        console().print(text, markup=False, soft_wrap=True)
