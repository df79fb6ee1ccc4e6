"""The command line. One small file a command; nothing heavy is imported before a command runs."""

import contextlib
import os
import sys
from typing import Annotated, NoReturn

import typer

from convlens import __version__
from convlens.base.errors import ConvlensError
from convlens.base.threads import wait_calmly
from convlens.cli import data, doctor, evaluate, export, models, predict, report, summary, train, verify

app = typer.Typer(
    name="convlens",
    help="Convolutional networks that you can see through: train, understand and ship an image classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command()(models.models)
app.command()(summary.summary)
app.command()(verify.verify)
app.command()(report.report)
app.command()(doctor.doctor)
app.command()(export.export)
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convlens {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 our fault, 2 bad input or environment, 3 diverged, 128 + signal."""
    wait_calmly()
    try:
        app()
    except ConvlensError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def run() -> NoReturn:
    """`main` as a program: out at once when it is done. Taking PyTorch apart, object by object, takes 0.3 s."""
    code = 0
    try:
        main()
    except SystemExit as left:
        if left.code is not None and not isinstance(left.code, int):
            raise
        code = left.code or 0
    with contextlib.suppress(OSError, ValueError):  # a reader that has gone, a stream that is closed
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
