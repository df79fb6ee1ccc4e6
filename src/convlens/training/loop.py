"""The training loop: epochs, steps, validation, the best weights. All else is told of it (`events`).

The arithmetic is an engine's (`torch_engine`, `numpy_engine`): one loop for both.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, Protocol

import numpy as np

from convlens.base.errors import DivergedError
from convlens.classify.evaluation import Evaluation
from convlens.runs import RunFolder, Stopped
from convlens.training.clock import Clock
from convlens.training.events import Listener, State, overriding
from convlens.training.recipe import Recipe
from convlens.training.schedules import Plateau, make_schedule

_CHECK_EVERY = 100  # steps between two looks at the loss where looking makes a device wait

Arrays = dict[str, np.ndarray]


class Engine(Protocol):
    """What does the arithmetic of a run.

    Attributes:
        steps_per_epoch: batches per epoch.
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
    """Trains by one engine, keeps the best weights by validation, and tells its listeners what happens.

    Attributes:
        fits: so many epochs at the start fit an output layer, and know no learning rate.
        epoch, step: the next batch to train on; together with the seed they name every random number.
        best: validation figures of the best epoch so far, or None.
        records: one dictionary per epoch, the lines of `metrics.jsonl`.
        stopped: why training ended before its last epoch, or None; a listener may set it.
        restored: whether an earlier process began the run.
        parts, moved: what listeners keep of the present epoch, see `runs.Checkpoint`.
        epoch_seconds: what earlier processes spent on the present epoch.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        recipe: Recipe,
        epochs: int,
        folder: RunFolder,
        clock: Clock,
        listeners: Sequence[Listener] = (),
        fits: int = 0,
    ):
        self.engine, self.recipe, self.epochs, self.folder, self.clock = engine, recipe, epochs, folder, clock
        self.fits = fits
        self.schedule = make_schedule(recipe.schedule, total_steps=max(1, epochs - fits) * engine.steps_per_epoch)
        self.plateau = Plateau(recipe.schedule.gamma, recipe.schedule.patience)
        self.epoch = self.step = self.epochs_since_best = 0
        self.best: dict[str, Any] | None = None
        self.records: list[dict[str, Any]] = []
        self.stopped: Stopped | None = None
        self.restored, self.epoch_seconds = False, 0.0
        self.parts: list[list[float]] = []
        self.moved: dict[str, float] = {}
        self._unsaved_best: Arrays | None = None
        told = list(listeners)
        self._at = {event: overriding(told, event) for event in ("start", "step", "epoch", "save", "end", "close")}

    # ---- the loop

    def fit(self) -> None:
        """Trains to the end, or until a listener stops it.

        Raises:
            DivergedError: a loss that is not finite; what was saved before stays.
            Interrupted: SIGINT or SIGTERM; the state was saved first.
        """
        try:
            self._tell("start")
            while self.epoch < self.epochs and self.stopped is None:
                self._train_epoch()
            self._tell("end")
        finally:
            self._tell("close")

    def _train_epoch(self) -> None:
        engine, began, images, listening = self.engine, time.perf_counter(), 0, self._at["step"]
        for x, y in engine.batches(self.epoch, self.step):
            loss = engine.step(x, y, epoch=self.epoch, step=self.step, factor=self.factor(self.step))
            self.step += 1
            images += len(y)
            seen = float(loss) if engine.loss_is_at_hand or self.step % _CHECK_EVERY == 0 else None
            if seen is not None and not math.isfinite(seen):
                self.diverged("the loss")
            for listener in listening:
                listener(self, len(y), seen)
            if self.stopped is not None:
                break
        record = self._judged(images, time.perf_counter() - began)
        self.epoch, self.step, self.epoch_seconds = self.epoch + 1, 0, 0.0
        self.engine.reset_totals()
        self.records.append(record)
        self._tell("epoch", record)

    def factor(self, step: int) -> float:
        """The part of the peak learning rate at a step of the present epoch."""
        if self.epoch < self.fits:
            return 1.0
        return self.schedule((self.epoch - self.fits) * self.engine.steps_per_epoch + step) * self.plateau.factor

    def _tell(self, event: str, *details: Any) -> None:
        for listener in self._at[event]:
            listener(self, *details)

    def _judged(self, images: int, seconds: float) -> dict[str, Any]:
        """The record of the epoch that is over: training, validation, learning rate, times."""
        totals = self.engine.totals()
        self._require_finite(totals)
        judged = self.engine.validate()
        return {
            "epoch": self.epoch + 1,
            "train_loss": totals["loss"] / totals["seen"],
            "train_accuracy": totals["correct"] / totals["seen"],
            **({} if judged is None else self._take_validation(judged)),
            **self._rate(),
            "images_per_second": round(images / seconds, 1) if images else None,
            "seconds": round(self.epoch_seconds + seconds, 3),
            "elapsed": round(self.clock.trained(), 3),
        }

    def _rate(self) -> dict[str, float]:
        """The learning rate of the last step; none where an output layer is fitted, which has none."""
        return {} if self.epoch < self.fits else {"lr": self.recipe.optimizer.lr * self.factor(self.step - 1)}

    def _take_validation(self, judged: Evaluation) -> dict[str, float]:
        if not math.isfinite(judged.loss):
            self.diverged("the validation loss")
        if self.best is None or self._score(judged.accuracy, judged.loss) > self._score(
            self.best["accuracy"], self.best["loss"]
        ):
            self._unsaved_best = self._finite_weights()
            self.best = {"epoch": self.epoch + 1, "accuracy": judged.accuracy, "loss": judged.loss}
            self.epochs_since_best = 0
        else:
            self.epochs_since_best += 1
        return {"val_loss": judged.loss, "val_accuracy": judged.accuracy}

    def _score(self, accuracy: float, loss: float) -> tuple[float, ...]:
        """What is better is larger. Penalties differ by few pictures: between them the loss decides, which is finer."""
        return (-loss, accuracy) if self.epoch < self.fits else (accuracy, -loss)

    # ---- saving

    def save(self) -> None:
        """Writes the best weights; then the listeners write what they keep, the checkpoint last.

        Without validation images the weights of the moment count as the best.
        """
        self._require_finite(self.engine.totals())
        state: State = self.engine.state()
        self._require_finite_weights({name: a for name, a in state[0].items() if name.startswith("model.")})
        if self.recipe.val_fraction == 0 and self.best is None:
            self._unsaved_best = self._finite_weights()
        self._write_best()
        self._tell("save", state)

    def _write_best(self) -> None:
        if self._unsaved_best is not None:
            self.folder.write_arrays(self.folder.weights, self._unsaved_best, {"best": self.best})
            self._unsaved_best = None

    # ---- what can go wrong

    def _require_finite(self, totals: dict[str, float]) -> None:
        if not math.isfinite(totals["loss"]):
            self.diverged("the loss")

    def _finite_weights(self) -> Arrays:
        weights = self.engine.weights()
        self._require_finite_weights(weights)
        return weights

    def _require_finite_weights(self, arrays: Arrays) -> None:
        """The last update may have diverged, and no loss was computed after it."""
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                self.diverged(f"the array {name.removeprefix('model.')}")

    def diverged(self, what: str) -> NoReturn:
        """Ends the run: `what` is not finite. The best weights so far are on the disk then."""
        self._write_best()
        kept = "nothing had been saved yet"
        if self.folder.holds_weights():
            which = f"the weights of epoch {self.best['epoch']} are" if self.best else "what was saved before is"
            kept = f"{which} kept in {self.folder.path}"
        between = self.step == 0 and self.epoch > 0  # two epochs: after the last step of the former
        epoch, step = (self.epoch, self.engine.steps_per_epoch) if between else (self.epoch + 1, self.step)
        raise DivergedError(
            f"training diverged: {what} is not finite in epoch {epoch}, step {step}; {kept}; "
            f"try a lower learning rate, as in --set optimizer.lr={self.recipe.optimizer.lr / 10:g}"
        )
