"""The weights that a run starts from, if they are not drawn: loaded once, recorded, and compared on a resume."""

from pathlib import Path

from torch import nn

from convlens.base import files
from convlens.base.errors import InputError
from convlens.models.weights import load_weights
from convlens.runs import RunFolder, RunRecord, StartedFrom


def start_from(
    module: nn.Module, asked: Path | str | None, folder: RunFolder, stored: RunRecord | None, notes: list[str]
) -> StartedFrom | None:
    """Loads the weights that a run starts from into its network, and says so. `stored`: of the run that goes on.

    A run that has saved a checkpoint goes on from it; one that has not begins again, with the same first weights.

    Raises:
        InputError: weights that do not fit, or others than those that the run began with.
    """
    if stored is not None:
        differences = other_start(asked, stored)
        if differences and folder.holds_weights():
            raise InputError(f"cannot resume: {differences[0]}; start a new run with another --out")
        if folder.last.exists():
            if asked is not None:
                notes.append(f"the run goes on from its own checkpoint: {asked} is not read again")
            return stored.started_from
        if asked is None and stored.started_from is not None:
            asked = _unchanged(stored.started_from)
    if asked is None:
        return None
    report = load_weights(module, asked)
    fresh = f", fresh: {', '.join(report.fresh)}" if report.fresh else ""
    heads = [name for name in report.unused if name.startswith("aux")]
    notes.append(f"started from {asked}: {len(report.loaded)} arrays{fresh}")
    notes += [f"weights: {note}" for note in report.notes]
    if heads:
        notes.append(f"weights: {len(heads)} arrays of auxiliary heads left out, such as {heads[0]!r}")
    return StartedFrom(path=str(Path(asked).resolve()), sha256=_digest(asked))


def other_start(asked: Path | str | None, stored: RunRecord) -> list[str]:
    """What is asked for that the run did not start from, in words; nothing asked for is no difference."""
    if asked is None:
        return []
    began = stored.started_from
    if began is None:
        return [f"weights: the run began from fresh ones, you asked for {asked}"]
    same_file = str(Path(asked).resolve()) == began.path and not Path(asked).exists()  # gone since
    if same_file or _digest(asked) == began.sha256:
        return []
    return [f"weights: the run began from {began.path} (SHA-256 {began.sha256[:12]}...), you asked for others: {asked}"]


def _unchanged(began: StartedFrom) -> Path:
    """The file that the run began with. Raises `InputError` where it is gone or another."""
    path = Path(began.path)
    if not path.exists() or _digest(path) != began.sha256:
        raise InputError(
            f"cannot resume: the run had saved nothing yet, and the weights that it began with, {path}, are gone or "
            "others; give them with --weights, wherever they are now"
        )
    return path


def _digest(path: Path | str) -> str:
    path = Path(path)
    return files.sha256(RunFolder(path).weights if path.is_dir() else path)
