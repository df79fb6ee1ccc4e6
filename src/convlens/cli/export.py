"""`convlens export`: a run's network as a file for others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convlens.base.errors import InputError
from convlens.cli.common import Json, OwnImages, UserModel, console, emit
from convlens.deploy.exporters import exporters

_FORMATS = "; ".join(f"{name}: {exporter.about}" for name, exporter in exporters().items())

_WithPreprocessing = Annotated[
    bool,
    typer.Option(
        "--with-preprocessing",
        help="onnx, program: pixels 0 to 255 of the network's size in, probabilities out. Decoding and resizing stay "
        "outside: no ONNX operation resizes bit for bit as training did.",
    ),
]
_Int8 = Annotated[
    bool,
    typer.Option(
        "--int8", help="onnx: 8-bit weights and activations, with the loss of accuracy measured on validation images."
    ),
]
_VnniOnly = Annotated[
    bool, typer.Option("--vnni-only", help="With --int8: all 8 bits, right on processors with VNNI only.")
]
_Limit = Annotated[
    float | None, typer.Option(min=0, help="With --int8: the largest loss, in points of accuracy. (default: 0.3)")
]


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    format: Annotated[str, typer.Option(help=f"{_FORMATS}.")] = "text",
    best: Annotated[
        bool, typer.Option("--best", help="Measure the forms, as `bench` does, and write the fastest for one image.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The file to write. (default: one in the run folder, such as weights.txt)")
    ] = None,
    with_preprocessing: _WithPreprocessing = False,
    int8: _Int8 = False,
    vnni_only: _VnniOnly = False,
    limit: _Limit = None,
    data: OwnImages = None,
    model: UserModel = None,
    as_json: Json = False,
) -> None:
    """Write a run's network in another format, and check what was written."""
    from convlens import api

    opened = api.load(run, model=model)
    if best:
        if format != "text" or int8:
            raise InputError("--best chooses the format: leave --format and --int8 away")
        format, int8 = _best(run, model, data)
    if not int8 and (vnni_only or limit is not None):
        raise InputError("--vnni-only and --limit belong to --int8")
    given = {"with_preprocessing": with_preprocessing, "int8": int8, "vnni_only": vnni_only}
    settings: dict[str, Any] = {name: True for name, wanted in given.items() if wanted}
    if limit is not None:
        settings["limit"] = limit / 100
    path, worst = opened.export(format, out, data=data, **settings)
    if as_json:
        emit({"path": str(path), "max_error": worst, "bytes": path.stat().st_size})
    else:
        text = f"wrote {path} ({path.stat().st_size:,} bytes, checked: largest difference {worst:.2g})"
        console().print(text, markup=False, soft_wrap=True)


def _best(run: Path, model: str | None, data: str | None) -> tuple[str, bool]:
    """Format, and whether in 8 bits."""
    from convlens import api
    from convlens.base.progress import say
    from convlens.deploy.bench.verdict import sentence
    from convlens.deploy.of_run import bench_run, best_form

    opened = api.load(run, model=model, device="cpu")
    found = bench_run(opened.classifier(), opened.folder, opened.record, data, seconds=0.5, compiled=False)
    say(sentence(found))
    format, settings = best_form(found)
    return format, bool(settings)
