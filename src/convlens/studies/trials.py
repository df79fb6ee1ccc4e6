"""Networks that a study trains: a list of trials, each a run folder of its own, so that a study can be resumed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.base import files
from convlens.base.progress import say
from convlens.runs import RunFolder, RunRecord

if TYPE_CHECKING:
    from convlens.studies.findings import Findings


@dataclass(frozen=True)
class Trial:
    """One training. Arguments as for `cl.train`.

    name: of its folder in the study's `runs`; letters, digits, points and hyphens.
    model: a name of the zoo, or a module. data: a name, a path, or images.
    options: of `cl.train`, such as `epochs=5`, `seed=1`, `settings=["optimizer.lr=0.1"]`.
    """

    name: str
    model: Any
    data: Any
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, what `run.json` says, and its epochs."""

    path: Path
    record: RunRecord

    @property
    def results(self) -> dict[str, Any]:
        """Accuracies, losses, times, as `cl.Run.results`."""
        return self.record.results or {}

    @property
    def accuracy(self) -> float:
        """On the test images."""
        return self.results["test"]["accuracy"]

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """One line of `metrics.jsonl` for each epoch."""
        return RunFolder(self.path).read_metrics()


def train(findings: "Findings", trials: Sequence[Trial]) -> Iterator[tuple[Trial, Trained]]:
    """Each trial with its finished run, in order; what was finished already is read, what was begun goes on.

    Raises:
        InputError: a run of another setting lies where the trial's is to go.
        DivergedError, Interrupted: see `training.job.train`.
    """
    for number, trial in enumerate(trials, 1):
        path = findings.folder / "runs" / trial.name
        if (record := _finished(path)) is None:
            say(f"training {number} of {len(trials)}: {trial.name}", quiet=findings.quiet)
            record = _train(trial, path, findings.quiet)
        yield trial, Trained(path, record)


def _finished(path: Path) -> RunRecord | None:
    folder = RunFolder(path)
    record = folder.read_record() if folder.holds_a_run() else None
    return record if record is not None and record.results is not None else None


def _train(trial: Trial, path: Path, quiet: bool) -> RunRecord:
    from convlens.training import job
    from convlens.training.request import Request

    files.make_folder(path.parent)
    begun = RunFolder(path).holds_a_run()
    request = Request(trial.model, trial.data, out=path, resume=begun, quiet=quiet, **trial.options)
    job.train(request)
    return RunFolder(path).read_record()
