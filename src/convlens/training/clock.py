"""The time that a run takes, over all processes that work on it: kept in `run.json` whenever the run is saved."""

import contextlib
import datetime
import time
from collections.abc import Iterator, Sequence

from convlens.runs import ProcessRecord, RunFolder, RunRecord
from convlens.training.processes.world import ALONE, World


class Clock:
    """Counts the seconds of this process and adds those that earlier processes left in `run.json`.

    Of a killed process the time up to its last save counts: the rest was never written down.

    Attributes:
        record: the run's record as it was when this process began.
        earlier: seconds of training by earlier processes.
    """

    def __init__(
        self, folder: RunFolder, record: RunRecord, *, started: float, changed: Sequence[str] = (),
        world: World = ALONE, fast: bool = False,
    ):  # fmt: skip
        """started: when this process began, as `time.perf_counter` tells it. changed, fast: see `ProcessRecord`.

        world: the processes that train together.
        """
        self.folder, self.record = folder, record
        self._started, self._trained = started, 0.0
        self._training_since: float | None = None
        self._date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._changed, self._world, self._fast = list(changed), world, fast
        self._waited_before = world.waited
        self._before = list(record.processes)
        self.earlier = sum(process.train for process in self._before)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Inside, the time counts as training."""
        self._training_since = time.perf_counter()
        try:
            yield
        finally:
            self._trained, self._training_since = self._here(), None

    def trained(self) -> float:
        """Seconds of training so far, of all processes."""
        return self.earlier + self._here()

    def _here(self) -> float:
        since = self._training_since
        return self._trained + (0.0 if since is None else time.perf_counter() - since)

    def stamped(self) -> RunRecord:
        """The record with the time so far."""
        total = time.perf_counter() - self._started
        here = ProcessRecord(
            started=self._date, total=round(total, 3), train=round(self._here(), 3), changed=self._changed,
            together=self._world.size, fast=self._fast, waiting=self._waiting(),
        )  # fmt: skip
        return self.record.model_copy(update={"processes": [*self._before, here]})

    def _waiting(self) -> float | None:
        if self._world.size == 1:
            return None
        share = (self._world.waited - self._waited_before) / max(self._here(), 1e-9)
        return round(min(1.0, share), 4)

    def keep(self) -> None:
        """Writes `run.json` with the time so far. Before a checkpoint: no epoch in it is then later than the run."""
        self.folder.write_record(self.stamped())
