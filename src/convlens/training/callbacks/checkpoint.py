"""Saving a run so that it can go on, and going on."""

import time
from typing import TYPE_CHECKING, Any

from convlens.base.errors import InputError
from convlens.runs import Best, Checkpoint, PlateauState, RunFolder
from convlens.training.clock import Clock
from convlens.training.events import Listener, State

if TYPE_CHECKING:
    from convlens.training.loop import Trainer


class Times(Listener):
    """Writes the time so far into `run.json` before a checkpoint: no epoch of it is then later than the run."""

    def __init__(self, clock: Clock):
        self.clock = clock

    def save(self, run: "Trainer", state: State) -> None:
        self.clock.keep()


class Checkpoints(Listener):
    """Saves the run every `seconds`, within epochs too, and at its end: `last.safetensors`, one file.

    Told last: the checkpoint then knows no more than the disk. A kill between two of the files leaves newer weights or
    metrics beside an older checkpoint; the resumed run computes the same bits again and writes the same files over
    them.
    """

    def __init__(self, folder: RunFolder, seconds: float):
        self.folder, self.seconds = folder, seconds
        self._saved_at = time.perf_counter()

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        if time.perf_counter() - self._saved_at >= self.seconds:
            run.save()

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        if time.perf_counter() - self._saved_at >= self.seconds:
            run.save()

    def end(self, run: "Trainer") -> None:
        run.save()

    def save(self, run: "Trainer", state: State) -> None:
        arrays, plain = state
        here = Checkpoint(
            epoch=run.epoch,
            step=run.step,
            best=None if run.best is None else Best(**run.best),
            epochs_since_best=run.epochs_since_best,
            plateau=PlateauState(**run.plateau.state_dict()),
            parts=run.parts,
            moved=run.moved,
            engine=plain,
        )
        self.folder.write_checkpoint(arrays, here)
        self._saved_at = time.perf_counter()


def restore(run: "Trainer", folder: RunFolder) -> None:
    """Takes a run back to where `last.safetensors` was written. Raises `InputError` for a file that does not fit."""
    arrays, state = folder.read_checkpoint()
    try:
        run.engine.load_state(arrays, state.engine)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error) if isinstance(error, InputError) else "its arrays are not those of this network"
        raise InputError(f"{folder.last} does not fit: {reason}; {folder.without_checkpoint}") from error
    if state.epoch > run.epochs or state.step > run.engine.steps_per_epoch:
        raise InputError(
            f"{folder.last} does not fit: it stands beyond the end of the run; {folder.without_checkpoint}"
        )
    run.plateau.load_state_dict(state.plateau.model_dump())
    run.epoch, run.step, run.epochs_since_best = state.epoch, state.step, state.epochs_since_best
    run.best = None if state.best is None else state.best.model_dump()
    run.parts, run.moved, run.restored = state.parts, state.moved, True
    run.records = folder.read_metrics(last_epoch=run.epoch)
    before = run.records[-1].get("elapsed") if run.records else 0.0
    if isinstance(before, (int, float)):
        run.epoch_seconds = max(0.0, run.clock.earlier - before)
