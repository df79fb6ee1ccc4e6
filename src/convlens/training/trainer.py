"""The training loop: epochs, steps, validation, the best weights, saving, stopping, going on.

The arithmetic is an engine's (`torch_engine`, `numpy_engine`); everything that decides the course of a run is here or
called from here, in order, by name.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

import numpy as np

from convlens.base.errors import DivergedError, InputError, Interrupted
from convlens.base.progress import Progress
from convlens.classify.evaluation import Evaluation
from convlens.runs import Best, Checkpoint, PlateauState, RunFolder, Stopped
from convlens.training.clock import Clock
from convlens.training.recipe import Recipe
from convlens.training.schedules import Plateau, make_schedule
from convlens.training.stop import Stop

_CHECK_EVERY = 100  # steps between two looks at the loss where looking makes a device wait
_FEW, _PARTS = 3, 40  # of a run of so few epochs, each is recorded in so many parts: else there were no curve

Arrays = dict[str, np.ndarray]


class Engine(Protocol):
    """What does the arithmetic of a run.

    Attributes:
        steps_per_epoch: batches an epoch.
        loss_is_at_hand: whether reading a loss costs nothing; a GPU would have to be waited for.
    """

    steps_per_epoch: int
    loss_is_at_hand: bool

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        """The batches of an epoch from number `start` on, each the same bits whatever came before."""
        ...

    def step(self, x: Any, y: Any, *, epoch: int, step: int, factor: float) -> Any:
        """Forward, backward, update at `factor` times the peak learning rate. Returns the loss, for `float()`."""
        ...

    def totals(self) -> dict[str, float]:
        """Sums over the epoch so far: `loss` (times images), `correct`, `seen`."""
        ...

    def reset_totals(self) -> None: ...

    def validate(self) -> Evaluation | None:
        """Judges the weights on the validation images; None where there are none."""
        ...

    def weights(self) -> Arrays:
        """A copy of the weights to judge and to keep (the average, where one is kept)."""
        ...

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """The parameters that are being trained, by name, as they are now: not to be kept."""
        ...

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Everything that the next step depends on: arrays, and JSON values."""
        ...

    def load_state(self, arrays: Arrays, plain: dict[str, Any]) -> None: ...


class Trainer:
    """Trains by one engine, keeps the best weights by validation, and can stop and go on at any step.

    Attributes:
        epoch, step: the next batch to train on; together with the seed they name every random number.
        best: validation figures of the best epoch so far, or None.
        records: one dictionary an epoch, the lines of `metrics.jsonl`.
        stopped: why training ended before its last epoch, or None.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        recipe: Recipe,
        epochs: int,
        folder: RunFolder,
        clock: Clock,
        progress: Progress,
        stop: Stop,
        resume_command: str = "",
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ):
        self.engine, self.recipe, self.epochs, self.folder = engine, recipe, epochs, folder
        self.clock = clock
        self.progress, self.stop, self.resume_command, self.on_epoch = progress, stop, resume_command, on_epoch
        self.schedule = make_schedule(recipe.schedule, total_steps=epochs * engine.steps_per_epoch)
        self.plateau = Plateau(recipe.schedule.gamma, recipe.schedule.patience)
        self.epoch = self.step = self.epochs_since_best = 0
        self.best: dict[str, Any] | None = None
        self.records: list[dict[str, Any]] = []
        self.stopped: Stopped | None = None
        self._epoch_seconds = 0.0  # that earlier processes spent on the present epoch
        self._parts: list[list[float]] = []  # see `runs.Checkpoint.parts`
        parts = min(_PARTS, engine.steps_per_epoch) if epochs <= _FEW else 0
        self._part_ends = {round((k + 1) * engine.steps_per_epoch / parts) for k in range(parts)}
        self._unsaved_best: Arrays | None = None
        self._saved_at = time.perf_counter()

    # ---- the loop

    def fit(self) -> None:
        """Trains to the end, or to early stopping.

        Raises:
            DivergedError: a loss that is not finite; what was saved before stays.
            Interrupted: SIGINT or SIGTERM; the state was saved first.
        """
        while self.epoch < self.epochs and self.stopped is None:
            self._train_epoch()
            self._stop_if_out_of_patience()
        self.save()

    def _train_epoch(self) -> None:
        engine, began, images = self.engine, time.perf_counter(), 0
        for x, y in engine.batches(self.epoch, self.step):
            loss = engine.step(x, y, epoch=self.epoch, step=self.step, factor=self._factor(self.step))
            self.step += 1
            images += len(y)
            if self.step in self._part_ends:
                totals = engine.totals()
                self._parts.append([float(totals[name]) for name in ("loss", "correct", "seen")])
            shown = float(loss) if engine.loss_is_at_hand or self.step % _CHECK_EVERY == 0 else None
            if shown is not None and not math.isfinite(shown):
                self._diverged("the loss")
            self.progress.step(self.epoch, self.step - 1, len(y), shown)
            if self.stop.signum is not None:
                self._save_and_leave(self.stop.signum)
            self._save_if_due()
        self._finish_epoch(images, time.perf_counter() - began)
        self._save_if_due()

    def _factor(self, step: int) -> float:
        """The part of the peak learning rate at a step of the present epoch."""
        return self.schedule(self.epoch * self.engine.steps_per_epoch + step) * self.plateau.factor

    def _finish_epoch(self, images: int, seconds: float) -> None:
        totals = self.engine.totals()
        self._require_finite(totals)
        record: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "train_loss": totals["loss"] / totals["seen"],
            "train_accuracy": totals["correct"] / totals["seen"],
        }
        if self._part_ends:
            loss, correct, seen = np.diff(np.array(self._parts), axis=0, prepend=0).T
            record["train_loss_parts"] = (loss / seen).tolist()
            record["train_accuracy_parts"] = (correct / seen).tolist()
        learning_rate = self.recipe.optimizer.lr * self._factor(self.step - 1)  # before a plateau lowers it
        judged = self.engine.validate()
        if judged is not None:
            record |= self._take_validation(judged)
        record["lr"] = learning_rate
        record["images_per_second"] = round(images / seconds, 1) if images else None
        record["seconds"] = round(self._epoch_seconds + seconds, 3)
        record["elapsed"] = round(self.clock.trained(), 3)
        self.records.append(record)
        self.progress.epoch_done(self.epoch, record)
        if self.on_epoch is not None:
            self.on_epoch(record)
        self.epoch, self.step, self._parts, self._epoch_seconds = self.epoch + 1, 0, [], 0.0
        self.engine.reset_totals()

    def _take_validation(self, judged: Evaluation) -> dict[str, float]:
        if not math.isfinite(judged.loss):
            self._diverged("the validation loss")
        score = (judged.accuracy, -judged.loss)
        if self.best is None or score > (self.best["accuracy"], -self.best["loss"]):
            kept = self._weights()
            self.best = {"epoch": self.epoch + 1, "accuracy": judged.accuracy, "loss": judged.loss}
            self.epochs_since_best = 0
            self._unsaved_best = kept
        else:
            self.epochs_since_best += 1
        if self.recipe.schedule.name == "plateau":
            self.plateau.observe(judged.loss)
        return {"val_loss": judged.loss, "val_accuracy": judged.accuracy}

    def _stop_if_out_of_patience(self) -> None:
        patience = self.recipe.early_stopping
        if patience is None or self.best is None or self.epochs_since_best < patience or self.epoch >= self.epochs:
            return
        self.stopped = Stopped(
            epoch=self.epoch, planned=self.epochs, best_epoch=self.best["epoch"], patience=self.epochs_since_best
        )
        self.progress.note(str(self.stopped))

    # ---- what can go wrong

    def _require_finite(self, totals: dict[str, float]) -> None:
        if not math.isfinite(totals["loss"]):
            self._diverged("the loss")

    def _weights(self) -> Arrays:
        weights = self.engine.weights()
        self._require_finite_weights(weights)
        return weights

    def _require_finite_weights(self, arrays: Arrays) -> None:
        """The last update may have diverged, and no loss was computed after it."""
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                self._diverged(f"the array {name.removeprefix('model.')}")

    def _diverged(self, what: str) -> NoReturn:
        if self._unsaved_best is not None:
            self._write_best()
        kept = "nothing had been saved yet"
        if self.folder.holds_weights():
            which = f"the weights of epoch {self.best['epoch']} are" if self.best else "what was saved before is"
            kept = f"{which} kept in {self.folder.path}"
        raise DivergedError(
            f"training diverged: {what} is not finite in epoch {self.epoch + 1}, step {self.step}; {kept}; "
            f"try a lower learning rate, as in --set optimizer.lr={self.recipe.optimizer.lr / 10:g}"
        )

    def _save_and_leave(self, signum: int) -> NoReturn:
        self.save()
        raise Interrupted(
            f"stopped in epoch {self.epoch + 1} of {self.epochs}, everything is saved; "
            f"go on with: {self.resume_command}",
            signum,
        )

    # ---- saving and going on

    def _save_if_due(self) -> None:
        if time.perf_counter() - self._saved_at >= self.recipe.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """Writes best weights, metrics, times, checkpoint, in this order: the checkpoint knows no more than the disk.

        A kill between two of the files leaves newer weights or metrics beside an older checkpoint; the resumed
        run computes the same bits again and writes the same files over them. Without validation images the weights
        of the moment count as the best.
        """
        self._require_finite(self.engine.totals())
        arrays, plain = self.engine.state()
        self._require_finite_weights({name: a for name, a in arrays.items() if name.startswith("model.")})
        if self.recipe.val_fraction == 0 and self.best is None:
            self._unsaved_best = self._weights()
        if self._unsaved_best is not None:
            self._write_best()
        self.folder.write_metrics(self.records)
        self.clock.keep()
        state = Checkpoint(
            epoch=self.epoch,
            step=self.step,
            best=None if self.best is None else Best(**self.best),
            epochs_since_best=self.epochs_since_best,
            plateau=PlateauState(**self.plateau.state_dict()),
            parts=self._parts,
            engine=plain,
        )
        self.folder.write_checkpoint(arrays, state)
        self._saved_at = time.perf_counter()

    def _write_best(self) -> None:
        assert self._unsaved_best is not None
        self.folder.write_arrays(self.folder.weights, self._unsaved_best, {"best": self.best})
        self._unsaved_best = None

    def restore(self) -> None:
        """Goes back to where `last.safetensors` was written. Raises `InputError` for a file that does not fit."""
        arrays, state = self.folder.read_checkpoint()
        try:
            self.engine.load_state(arrays, state.engine)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = str(error) if isinstance(error, InputError) else "its arrays are not those of this network"
            raise InputError(f"{self.folder.last} does not fit: {reason}; {self.folder.without_checkpoint}") from error
        if state.epoch > self.epochs or state.step > self.engine.steps_per_epoch:
            raise InputError(
                f"{self.folder.last} does not fit: it stands beyond the end of the run; "
                f"{self.folder.without_checkpoint}"
            )
        self.plateau.load_state_dict(state.plateau.model_dump())
        self.epoch, self.step, self.epochs_since_best = state.epoch, state.step, state.epochs_since_best
        self.best = None if state.best is None else state.best.model_dump()
        self._parts = state.parts
        self.records = self.folder.read_metrics(last_epoch=self.epoch)
        before = self.records[-1].get("elapsed") if self.records else 0.0
        if isinstance(before, (int, float)):
            self._epoch_seconds = max(0.0, self.clock.earlier - before)
        self._stop_if_out_of_patience()
