"""The weights that a run starts from, if they are not drawn: named in the plan, loaded once, compared on a resume."""

from pathlib import Path

from torch import nn

from convlens.base import files
from convlens.base.errors import InputError
from convlens.models.weights import load_weights
from convlens.runs import RunFolder, StartedFrom


def start_of(asked: Path | str | None, began: StartedFrom | None) -> StartedFrom | None:
    """What a plan says of the weights that were asked for; nothing asked for is what the run began from."""
    if asked is None:
        return began
    path = str(Path(asked).resolve())
    if began is not None and path == began.path and not Path(asked).exists():  # gone since
        return began
    return StartedFrom(path=path, sha256=_digest(asked))


def load_start(module: nn.Module, start: StartedFrom, asked: Path | str | None) -> list[str]:
    """Loads the weights into a new network. Returns what is to be said of it.

    Args:
        asked: how the user called the file now; None where the run that goes on had named it.

    Raises:
        InputError: weights that do not fit, or that are gone or changed since the run was begun.
    """
    path = Path(start.path)
    if asked is None and (not path.exists() or _digest(path) != start.sha256):
        raise InputError(
            f"cannot resume: the run had saved nothing yet, and the weights that it began with, {path}, are gone or "
            "others; give them with --weights, wherever they are now"
        )
    report = load_weights(module, path if asked is None else asked)
    fresh = f", fresh: {', '.join(report.fresh)}" if report.fresh else ""
    heads = [name for name in report.unused if name.startswith("aux")]
    notes = [f"started from {asked or path}: {len(report.loaded)} arrays{fresh}"]
    notes += [f"weights: {note}" for note in report.notes]
    if heads:
        notes.append(f"weights: {len(heads)} arrays of auxiliary heads left out, such as {heads[0]!r}")
    return notes


def _digest(path: Path | str) -> str:
    path = Path(path)
    return files.sha256(RunFolder(path).require().weights if path.is_dir() else path)
