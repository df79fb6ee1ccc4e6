"""Where a run goes: its folder is found, reserved, and removed again where nothing came of it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from convlens.base import files
from convlens.base.errors import InputError, InUseError
from convlens.runs import RunFolder, RunRecord
from convlens.runs.trained import FILE as TRAINED
from convlens.training.fresh import fresh_path
from convlens.training.request import Request


def open_folder(request: Request) -> tuple[RunFolder, RunRecord | None]:
    """The folder to train in, and what it says about the run to go on with; None for a new run.

    A folder in which nothing was trained yet (a bad setting, a kill before the first save) may be begun anew.
    Raises `InputError` for a folder of anything else.
    """
    out, resume = request.options["out"], request.options["resume"]
    if out is None:
        if resume:
            raise InputError("--resume needs --out DIR, the folder of the run to go on with")
        return RunFolder(fresh_path(request.model, request.data)), None
    folder = RunFolder(out)
    if not folder.holds_a_run():
        if folder.path.is_dir() and any(not _ours(p) for p in folder.path.iterdir()):
            raise InputError(f"--out {folder.path} is a folder with other things in it; choose a new or an empty one")
        if folder.path.exists() and not folder.path.is_dir():
            raise InputError(f"--out {folder.path} is a file; choose a folder")
        return folder, None
    if resume:
        return folder, folder.read_record()
    if folder.holds_weights():
        raise InputError(f"--out {folder.path} already holds a run; continue it with --resume or choose another folder")
    return folder, None


def _ours(path: Path) -> bool:
    """Whether a killed start may have left this file."""
    return path.name == ".lock" or (path.name.startswith(".") and path.name.endswith(".tmp"))


@contextlib.contextmanager
def reserved(request: Request) -> Iterator[tuple[RunFolder, RunRecord | None]]:
    """Makes the folder if need be, and locks it against other processes. Yields what `open_folder` gives.

    Where the block fails before anything was saved, what it made is removed: the corrected command may name the same
    folder.
    """
    with contextlib.ExitStack() as stack:
        folder, begun, made = _taken(request, stack)
        try:
            files.remove_temporaries(folder.path)
            yield (
                folder,
                open_folder(request)[1] if request.options["out"] is not None else None,
            )  # read again, now that it is ours
        except BaseException:
            if not begun and not folder.holds_weights():
                _remove(folder, made)
            raise


def _taken(request: Request, stack: contextlib.ExitStack) -> tuple[RunFolder, bool, list[Path]]:
    """Makes and locks the folder. Returns it, whether it held a run before, and the folders that were made."""
    while True:
        folder, _ = open_folder(request)
        begun, made = folder.holds_a_run(), _missing(folder.path)
        try:
            files.make_folder(folder.path)
            stack.enter_context(folder.lock())
        except InUseError:
            if request.options["out"] is not None:
                raise  # otherwise another process took the name in the same second, and the next is free
        except BaseException:
            _remove(folder, made)
            raise
        else:
            return folder, begun, made


def _missing(path: Path) -> list[Path]:
    """The folders that have to be made for it, the innermost first."""
    found = []
    while not path.exists() and path != path.parent:
        found.append(path)
        path = path.parent
    return found


def _remove(folder: RunFolder, made: list[Path]) -> None:
    """Takes away what was written before the first save, and the folders that were made, as far as they are empty."""
    with contextlib.suppress(OSError):
        if folder.path.is_dir():
            files.remove_temporaries(folder.path)
        if folder.events.is_dir() and not folder.events.is_symlink():
            shutil.rmtree(folder.events)
        for path in (folder.run_json, folder.metrics, folder.path / TRAINED, folder.path / ".lock"):
            path.unlink(missing_ok=True)
    for path in made:
        with contextlib.suppress(OSError):
            path.rmdir()
