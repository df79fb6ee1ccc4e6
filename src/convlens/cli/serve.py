"""`convlens serve`: an HTTP service that says what is in pictures."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convlens.base.errors import InputError
from convlens.cli.common import Device, UserModel, console, refuse_options_of_runs

if TYPE_CHECKING:
    from convlens.deploy.serve import Settings

KEY = "CONVLENS_API_KEY"


def serve(
    run: Annotated[Path, typer.Argument(help="A run folder, or an ONNX file that `export` wrote.", show_default=False)],
    host: Annotated[str, typer.Option(help="Where to listen. 0.0.0.0: for other machines, too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which clients may call it, several times; * for any."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Holds the API key that requests must bring. (or {KEY} is set)")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to rank, unless a request says.")] = 5,
    deadline: Annotated[float, typer.Option(help="Seconds in which a request gets its answer, or 503.")] = 10.0,
    max_body: Annotated[int, typer.Option(min=1, metavar="MB", help="Size of a request, in 10^6 bytes.")] = 16,
    max_pixels: Annotated[int, typer.Option(min=1, metavar="MP", help="Size of a picture, in 10^6 pixels.")] = 50,
    queue: Annotated[int, typer.Option(min=1, help="Pictures that may wait; more get 429.")] = 512,
    reload: Annotated[float, typer.Option(min=0, help="Seconds between looks for a changed file; 0: never.")] = 2.0,
    log: Annotated[bool, typer.Option("--log/--no-log", help="A line of JSON on stderr for each request.")] = True,
    model: UserModel = None,
    device: Device = None,
) -> None:
    """Answer over HTTP: POST /predict, /explain; GET /healthz, /readyz, /metrics, /openapi.json; / is a test page."""
    from convlens.classify.classifier import is_onnx
    from convlens.deploy.serve import Settings
    from convlens.deploy.serve.run import bound, needed
    from convlens.deploy.serve.run import serve as answer
    from convlens.deploy.serve.service import load

    needed()
    if is_onnx(run):
        refuse_options_of_runs(run, model, device)
    settings = Settings(
        run.absolute(), device, model, host, port, tuple(allow_host or ()), _key(api_key_file), top, deadline,
        max_body=max_body * 10**6, max_pixels=max_pixels * 10**6, queue=queue, reload=reload, log=log,
    )  # fmt: skip
    classifier = load(settings)
    listening = bound(host, port)
    _tell(settings, listening.getsockname()[1], len(classifier.classes), workers)
    answer(settings, classifier, listening, workers=workers)


def _key(path: Path | None) -> str | None:
    from convlens.base import files

    if path is None:
        return os.environ.get(KEY)
    try:
        return files.read_bytes(path, 4096).decode("ascii").strip()
    except UnicodeDecodeError:
        raise InputError(f"{path}: the API key must be ASCII text") from None


def _tell(settings: "Settings", port: int, classes: int, workers: int) -> None:
    from convlens.deploy.serve.settings import LOOPBACK

    out = console()
    address = f"http://{'localhost' if settings.host == '127.0.0.1' else settings.host}:{port}"
    out.print(f"{classes} classes, {workers} {'process' if workers == 1 else 'processes'}: {address}", soft_wrap=True)
    out.print(f"try it     {address}/ in a browser, or", soft_wrap=True)
    out.print(f"           curl --data-binary @PICTURE {address}/predict", soft_wrap=True)
    if settings.host not in LOOPBACK and settings.key is None:
        out.print("remark     others can ask it without a key: see --api-key-file", soft_wrap=True)
