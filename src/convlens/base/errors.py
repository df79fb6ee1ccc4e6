"""Errors that a user can act on. Each knows the exit code that the command line gives it."""

import difflib
import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class ConvlensError(Exception):
    """Something of ours went wrong. The message is one line for the user. Exit code 1."""

    exit_code = 1


class InputError(ConvlensError, ValueError):
    """Bad input, settings or environment: says what was wrong, where, and what to do. Exit code 2."""

    exit_code = 2


class InUseError(InputError):
    """Another process works in the folder: waiting may help, unlike with any other `InputError`."""


class DivergedError(ConvlensError):
    """Training produced a loss or a weight that is not finite. Exit code 3."""

    exit_code = 3


class Interrupted(ConvlensError):  # noqa: N818 - not an error of anyone
    """The user (SIGINT) or the system (SIGTERM) asked the run to stop; the state was saved. Exit code 128 + signal."""

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_code = 128 + signum


class LostError(ConvlensError):
    """Another of the processes that train together is gone or does not answer. Exit code 75, "try again"."""

    exit_code = 75


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: ", did you mean 'lenet5'?" or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""


_NO_MEMORY = (
    "DefaultCPUAllocator: ", "out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED",
)  # fmt: skip
_REMEDIES = {
    "GPU": "take smaller batches (train: --batch-size, verify: --batch), smaller images, or --device cpu",
    "processor": "take smaller batches (train: --batch-size, verify: --batch) or smaller images, or decode them when "
    "needed (train: --stream)",
}


def out_of_memory(error: BaseException) -> str | None:
    """What happened and what to do where an error of Python, NumPy or PyTorch says that memory did not suffice.

    None for any other error. PyTorch has a type of its own for GPUs alone; on a processor it is a `RuntimeError`.
    """
    message = " ".join(str(error).split())
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not known and not (isinstance(error, RuntimeError) and any(words in message for words in _NO_MEMORY)):
        return None
    on_processor = isinstance(error, MemoryError) or "DefaultCPUAllocator" in message
    asked = re.search(r"(?:tried to allocate|Unable to allocate) ([\d.]+) (bytes|[KMGTPE]i?B)", message, re.IGNORECASE)
    size = f" ({asked[1]} {asked[2]} more were asked for)" if asked else ""
    place = "processor" if on_processor else "GPU"
    return f"the memory of the {place} does not suffice{size}: {_REMEDIES[place]}"


_NOT_THEIRS = (Path(__file__).parents[1], Path(sysconfig.get_path("stdlib")))  # nor what stands in site-packages


def reason(error: BaseException) -> str:
    """Why something of the user's failed, on one line: the message, its kind, the last line of theirs it went through.

    Lines of installed packages, of Python and of Convlens are not theirs.
    """
    message = next(iter(str(error).strip().splitlines()), "")
    kind = type(error).__name__
    if not message:
        message = kind
    elif not isinstance(error, (RuntimeError, ValueError)) or isinstance(error, NotImplementedError):
        message = f"{kind}: {message}"
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and not set(_NOT_THEIRS) & set(Path(frame.filename).parents)
    ]
    if theirs and Path(theirs[-1].filename).is_file():
        message += f" (line {theirs[-1].lineno} of {theirs[-1].filename})"
    return message
