"""What is told of a run in several processes."""

import time
from typing import TYPE_CHECKING, Any

from convlens.training.events import Listener
from convlens.training.processes.engines import Ending, shared_end
from convlens.training.processes.world import World

if TYPE_CHECKING:
    from convlens.training.loop import Trainer


class EndTogether(Listener):
    """Where a listener of one process ends the run, all end it after the same step. Told after all that may do so."""

    def __init__(self, ending: Ending):
        self.ending = ending

    def start(self, run: "Trainer") -> None:
        run.stopped = shared_end(run.stopped, self.ending.world)

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        if run.stopped is not None and self.ending.stopped is None:
            self.ending.wanted, run.stopped = run.stopped, None
        if self.ending.stopped is not None:
            run.stopped = self.ending.stopped

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        run.stopped = shared_end(run.stopped or self.ending.wanted, self.ending.world)


class Waiting(Listener):
    """Adds `waiting` to the records: the share of an epoch that this process waited for others and their numbers."""

    def __init__(self, world: World):
        self.world = world
        self._since, self._waited = time.perf_counter(), world.waited

    def start(self, run: "Trainer") -> None:
        self._begin()

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        passed = time.perf_counter() - self._since
        record["waiting"] = round((self.world.waited - self._waited) / passed, 4)
        self._begin()

    def _begin(self) -> None:
        self._since, self._waited = time.perf_counter(), self.world.waited
