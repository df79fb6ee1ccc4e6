"""A run on the screen."""

from typing import TYPE_CHECKING, Any

from convlens.base.progress import Progress
from convlens.base.words import percent
from convlens.training.events import Listener

if TYPE_CHECKING:
    from convlens.training.loop import Trainer


class Display(Listener):
    """Tells a progress display what happens, and why the run ends early."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def start(self, run: "Trainer") -> None:
        if run.stopped is not None:
            self.progress.note(str(run.stopped))
        elif run.restored and run.epoch < run.epochs:
            self.progress.note(f"going on at epoch {run.epoch + 1}, step {run.step + 1}")

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        self.progress.step(run.epoch, run.step - 1, images, loss)

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        self.progress.epoch_done(run.epoch - 1, record)
        if run.stopped is not None:
            self.progress.note(str(run.stopped))


class StepLines(Listener):
    """A line every `every` steps of an epoch: mean loss and accuracy of the epoch so far, and the rate of the step."""

    def __init__(self, progress: Progress, every: int):
        self.progress, self.every = progress, every

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        steps, epochs = run.engine.steps_per_epoch, run.epochs
        if run.step % self.every:
            return
        totals = run.engine.totals()
        seen = max(1, totals["seen"])
        rate = run.recipe.optimizer.lr * run.factor(run.step - 1)
        self.progress.note(
            f"epoch {run.epoch + 1:{len(str(epochs))}d}/{epochs}  step {run.step:{len(str(steps))}d}/{steps}  "
            f"loss {totals['loss'] / seen:.4f}  acc {percent(totals['correct'] / seen):>8}  rate {rate:.3g}"
        )
