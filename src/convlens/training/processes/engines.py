"""The engine of PyTorch in several processes."""

import signal
from collections.abc import Iterator
from typing import Any

from convlens.base.seeds import derive
from convlens.classify.evaluation import Evaluation
from convlens.runs import Stopped
from convlens.training.processes.exact import Cut, ExactStepper
from convlens.training.processes.judging import judge_together
from convlens.training.processes.shards import require_enough
from convlens.training.processes.world import World
from convlens.training.stop import Stop
from convlens.training.torch_engine import TorchEngine


class Ending:
    """Why the run should end: what this process knows, and what all have agreed on, which then end after one step.

    stop: the signals that this process got. wanted: an end that this process wants, see `loop.Trainer.stopped`.
    signum, stopped: what was agreed, at the last step.
    """

    def __init__(self, world: World):
        self.world, self.stop = world, Stop()
        self.wanted: Stopped | None = None
        self.signum: int | None = None
        self.stopped: Stopped | None = None

    def report(self) -> tuple[float, float, float]:
        """What is added up over all processes in a step."""
        signum = self.stop.signum
        return float(signum == signal.SIGINT), float(signum == signal.SIGTERM), float(self.wanted is not None)

    def agree(self, reported: list[float]) -> None:
        """reported: the sums."""
        interrupted, terminated, wanted = reported[:3]
        if interrupted or terminated:
            self.signum = signal.SIGINT if interrupted else signal.SIGTERM
        if wanted:
            self.stopped = shared_end(self.wanted, self.world)


def shared_end(own: Stopped | None, world: World) -> Stopped | None:
    """What rank 0 says of the end of the run, for all."""
    said = world.share(None if own is None else own.model_dump())
    return None if said is None else Stopped.model_validate(said)


class SharedEngine(TorchEngine):
    """What engines in several processes have in common: each batch of validation images is judged by one of them.

    ending: see `Ending`; a listener tells it what is wanted and the loop what was agreed.
    """

    def __init__(self, *arguments: Any, world: World, **named: Any):
        super().__init__(*arguments, **named)
        self.world, self.ending = world, Ending(world)

    def validate(self) -> Evaluation | None:
        if self.val_loader is None:
            return None
        with self._averaged(), self.stepper.autocast():
            return self._judge()

    def _judge(self) -> Evaluation:
        assert self.val_loader is not None
        return judge_together(self.module, self.val_loader, self.classes, self.world)

    def _add(self, loss: float, correct: int, images: int) -> None:
        self._totals["loss"] += loss * images
        self._totals["correct"] += correct
        self._totals["seen"] += images


class ExactEngine(SharedEngine):
    """The same bits for every number of processes: see `exact`."""

    def __init__(self, *arguments: Any, world: World, shards: int, **named: Any):
        super().__init__(*arguments, world=world, **named)
        require_enough(shards, self.train_loader.batch_size)
        self.exact = ExactStepper(self.stepper, world, shards, self.train_loader.batch_size)

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        found = super().batches(epoch, start)
        self.exact.begin_epoch()
        return (self.exact.cut(x, y) for x, y in found)

    def step(self, x: Cut, y: Cut, *, epoch: int, step: int, factor: float) -> Any:
        look = self._look_at_the_first if epoch == step == 0 else None
        seed = derive(self.seed, "dropout", epoch, step)
        sums = self.exact.step(x, y, factor=factor, seed=seed, look=look, report=self.ending.report())
        self.ending.agree(sums.reported)
        self._add(sums.loss, sums.correct, len(y))
        return sums.loss
