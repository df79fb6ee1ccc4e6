"""What may change the course of a run: a plateau of the loss, patience that is out, a signal."""

from typing import TYPE_CHECKING, Any

from convlens.base.errors import Interrupted
from convlens.runs import Stopped
from convlens.training.events import Listener

if TYPE_CHECKING:
    from convlens.training.loop import Trainer
    from convlens.training.processes.engines import Ending
    from convlens.training.stop import Stop


class LowerOnPlateau(Listener):
    """Lowers the learning rate of the coming epochs where the validation loss has stopped falling."""

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        if "val_loss" in record:
            run.plateau.observe(record["val_loss"])


class EarlyStopping(Listener):
    """Ends the run after `patience` epochs without a better validation result."""

    def __init__(self, patience: int):
        self.patience = patience

    def start(self, run: "Trainer") -> None:
        self._look(run)  # a process may have been killed after its last epoch

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        self._look(run)

    def _look(self, run: "Trainer") -> None:
        if run.best is None or run.epochs_since_best < self.patience or run.epoch >= run.epochs:
            return
        run.stopped = Stopped(
            epoch=run.epoch, planned=run.epochs, best_epoch=run.best["epoch"], patience=run.epochs_since_best
        )


class SaveAndLeave(Listener):
    """After SIGINT or SIGTERM: saves after the step in hand, and raises `Interrupted`.

    stop: where the signal stands, if there was one. command: what goes on with the run.
    """

    def __init__(self, stop: "Stop | Ending", command: str):
        self.stop, self.command = stop, command

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        if self.stop.signum is None:
            return
        run.save()
        raise Interrupted(
            f"stopped in epoch {run.epoch + 1} of {run.epochs}, everything is saved; go on with: {self.command}",
            self.stop.signum,
        )
