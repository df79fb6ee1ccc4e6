"""The curves of a run: `metrics.jsonl`, and the parts of an epoch where there are too few epochs for a curve."""

from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.runs import RunFolder
from convlens.training.events import Listener, State

if TYPE_CHECKING:
    from convlens.training.loop import Trainer

_FEW, _PARTS = 3, 40  # of a run of so few epochs, each is recorded in so many parts: else there were no curve


class CurveWithinEpochs(Listener):
    """Adds loss and accuracy of the parts of each epoch to its record."""

    def __init__(self, steps_per_epoch: int):
        parts = min(_PARTS, steps_per_epoch)
        self.ends = {round((k + 1) * steps_per_epoch / parts) for k in range(parts)}

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        if run.step in self.ends:
            totals = run.engine.totals()
            run.parts.append([float(totals[name]) for name in ("loss", "correct", "seen")])

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        loss, correct, seen = np.diff(np.array(run.parts), axis=0, prepend=0).T
        record["train_loss_parts"] = (loss / seen).tolist()
        record["train_accuracy_parts"] = (correct / seen).tolist()
        run.parts = []


def curve_within_epochs(epochs: int, steps_per_epoch: int) -> list[Listener]:
    """A listener for runs of few epochs, none for others."""
    return [CurveWithinEpochs(steps_per_epoch)] if epochs <= _FEW else []


class MetricsFile(Listener):
    """Writes the lines of `metrics.jsonl` whenever the run is saved."""

    def __init__(self, folder: RunFolder):
        self.folder = folder

    def save(self, run: "Trainer", state: State) -> None:
        self.folder.write_metrics(run.records)
