"""The run folder as several processes see it: one of them reads and writes, the others are told."""

from pathlib import Path
from typing import Any

import numpy as np

from convlens.runs import Checkpoint, RunFolder, RunRecord
from convlens.training.processes.world import World


class SharedFolder(RunFolder):
    """Rank 0 has the folder, and hands on what it reads; what the others write goes nowhere.

    All processes must ask for the checkpoint, or for the weights, at the same place of their work.
    """

    def __init__(self, path: Path | str, world: World):
        super().__init__(path)
        self.world = world
        self._began = world.share([self.weights.exists(), self.last.exists()])

    def holds_weights(self) -> bool:
        """To the others what was so when training began."""
        return super().holds_weights() if self.world.leads else any(self._began)

    def holds_checkpoint(self) -> bool:
        return super().holds_checkpoint() if self.world.leads else self._began[1]

    def read_checkpoint(self) -> tuple[dict[str, np.ndarray], Checkpoint]:
        arrays, state = super().read_checkpoint() if self.world.leads else ({}, None)
        state = self.world.share(None if state is None else state.model_dump(mode="json"))
        return self.world.share_arrays(arrays), Checkpoint.model_validate(state)

    def read_weights(self, record: RunRecord | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, plain = super().read_weights(record) if self.world.leads else ({}, {})
        return self.world.share_arrays(arrays), self.world.share(plain)

    def read_metrics(self, last_epoch: int | None = None) -> list[dict[str, Any]]:
        return super().read_metrics(last_epoch) if self.world.leads else []

    def write_record(self, record: RunRecord) -> None:
        if self.world.leads:
            super().write_record(record)

    def write_arrays(self, path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        if self.world.leads:
            super().write_arrays(path, arrays, meta)

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        if self.world.leads:
            super().write_metrics(records)
