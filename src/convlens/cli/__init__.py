"""The command line. One small file per command; nothing heavy is imported before a command runs."""

import contextlib
import os
import sys
import traceback
import warnings
from typing import Annotated, Any, NoReturn

import typer

from convlens import __version__
from convlens.base.errors import ConvlensError, LostError, out_of_memory
from convlens.base.screen import forgiving_streams, printable
from convlens.base.threads import limited_spinning
from convlens.cli import (
    bench,
    data,
    doctor,
    evaluate,
    explain,
    export,
    models,
    predict,
    report,
    serve,
    study,
    summary,
    trace,
    train,
    verify,
)
from convlens.training.launched import by_us

app = typer.Typer(
    name="convlens",
    help="Convolutional networks that you can see through: train, understand and deploy an image classifier.",
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
app.command()(trace.trace)
app.command()(explain.explain)
app.command()(report.report)
app.command()(doctor.doctor)
app.command()(export.export)
app.command()(bench.bench)
app.command()(serve.serve)
app.command()(study.study)
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"convlens {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Typer exports the leaves of Click's exceptions, not their root, and newer ones bring a Click of their own
_WrongUse: Any = typer.BadParameter.__mro__[2]

_OF_TRAINING = ("torch", "scipy", "sklearn", "jinja2", "markupsafe", "tensorboard", "threadpoolctl", "matplotlib")


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 our fault, 2 bad input or environment, 3 diverged, 128 + signal.

    A stdout or stderr that is closed, full or not listened to changes none of them, but that `--json` without a
    stdout is 2.
    """
    with limited_spinning(), forgiving_streams(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged pictures: what matters becomes an error of ours
        try:
            code = app(standalone_mode=False)
        except LostError as error:
            if by_us():  # the launcher says what happened to whom
                sys.exit(error.exit_code)
            _leave(str(error), error.exit_code)
        except ConvlensError as error:
            _leave(str(error), error.exit_code)
        except ModuleNotFoundError as error:
            if (missing := (error.name or "").split(".")[0]) not in _OF_TRAINING:
                raise
            _leave(f"this needs {missing}, which is not installed: pip install 'convlens[train]'", 2)
        except _WrongUse as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
                sys.exit(2)
            _leave(error.format_message(), 2)
        except OSError as error:  # of the system, and nothing of ours knew more about it
            _leave(str(error), 2)
        except (KeyboardInterrupt, typer.Abort):
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except (MemoryError, RuntimeError) as error:
            if (what_to_do := out_of_memory(error)) is None:
                raise
            _leave(what_to_do, 2)
        if code:
            sys.exit(code)


def _leave(message: str, code: int) -> NoReturn:
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)


def run() -> NoReturn:
    """`main` as a program: out at once when it is done. Taking PyTorch apart, object by object, takes 0.3 s."""
    code = 0
    try:
        main()
    except SystemExit as left:
        if left.code is not None and not isinstance(left.code, int):
            raise
        code = left.code or 0
    except Exception:  # a fault of ours: its traceback, as far as there is somewhere to write it
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, or None
            stream.flush()
    os._exit(code)
