"""A run in TensorBoard."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.runs import RunFolder
from convlens.training.events import Listener
from convlens.training.tensorboard import TensorBoard

if TYPE_CHECKING:
    from convlens.training.loop import Trainer


class Board(Listener):
    """Logs each epoch and the histograms of the engine's parameters; at the start recipe and a batch of images.

    recipe: as in `run.json`. images: uint8 [N, H, W, C].
    """

    def __init__(self, folder: RunFolder, recipe: dict[str, Any], images: np.ndarray):
        self.folder, self.recipe, self.images = folder.events, recipe, images
        self.board: TensorBoard | None = None

    def start(self, run: "Trainer") -> None:
        recipe = json.dumps(self.recipe, indent=2)
        self.board = TensorBoard(self.folder, first_epoch=run.epoch, recipe=recipe, images=self.images)

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        assert self.board is not None
        self.board.epoch(run.engine.parameters(), record)

    def close(self, run: "Trainer") -> None:
        if self.board is not None:
            self.board.close()
