"""What happens while a network is trained, and who is told of it.

A run has events: its start, each step, each epoch, each save and its end. Whatever is no part of the
arithmetic is a listener: the display, the files, the averages, stopping. `callbacks` holds those that every run has;
`cl.train(..., listeners=[...])` adds a user's own.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from convlens.training.loop import Trainer

State = tuple[dict[str, np.ndarray], dict[str, Any]]


class Listener:
    """Is told of the events of a run; override what you want to know. An error in a listener ends the run.

    `run` is the trainer: where it stands (`epoch`, `step`, `best`, `records`), its engine with the network, its recipe.
    """

    def start(self, run: "Trainer") -> None:
        """Before the first step of this process, be it the first of the run or not."""

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        """After each step, that is, after the update. `run.step` steps of the epoch are done.

        images: in the batch. loss: mean over the batch; None where it would have to be waited for.
        """

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        """After each epoch and its validation; `run.epoch` epochs are done. `record` will be its line of metrics."""

    def save(self, run: "Trainer", state: State) -> None:
        """When the run is saved: put on disk what belongs to it. `state`: arrays and JSON values of the engine."""

    def end(self, run: "Trainer") -> None:
        """After the last epoch, or when the run stopped early; not where an error ended it."""

    def close(self, run: "Trainer") -> None:
        """Last of all, also after an error: closes what is open."""


def overriding(listeners: list[Listener], event: str) -> list[Any]:
    """The methods for an event of those listeners that have one of their own, in order: the others cost no call."""
    return [
        getattr(each, event) for each in listeners if getattr(type(each), event, None) is not getattr(Listener, event)
    ]
