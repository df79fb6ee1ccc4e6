"""The training loop. Everything that decides the outcome is here or called from here, in order, by name."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import DivergedError, Interrupted
from convlens.base.progress import Progress
from convlens.base.seeds import derive
from convlens.data.loader import Loader
from convlens.inspection.evaluation import evaluate
from convlens.runs import RunFolder, unpack
from convlens.training import optimizers
from convlens.training.averaging import ExponentialMovingAverage
from convlens.training.recipe import Recipe
from convlens.training.schedules import Plateau, make_schedule
from convlens.training.settings import Numeric
from convlens.training.stop import Stop

_CHECK_EVERY = 100  # steps between two looks at the loss where looking makes a GPU wait


class Trainer:
    """Trains one network on one loader, keeps the best weights by validation, and can stop and go on at any step.

    Attributes:
        epoch, step: the next batch to train on; together with the seed they name every random number.
        best: validation figures of the best epoch so far, or None.
        records: one dictionary an epoch, the lines of `metrics.jsonl`.
    """

    def __init__(
        self,
        module: nn.Module,
        train: Loader,
        val: Loader | None,
        *,
        classes: tuple[str, ...],
        recipe: Recipe,
        epochs: int,
        numeric: Numeric,
        seed: int,
        folder: RunFolder,
        progress: Progress,
        stop: Stop,
        class_weights: Tensor | None = None,
        resume_command: str = "",
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ):
        self.module, self.train_loader, self.val_loader = module, train, val
        self.classes, self.recipe, self.epochs, self.numeric, self.seed = classes, recipe, epochs, numeric, seed
        self.folder, self.progress, self.stop, self.on_epoch = folder, progress, stop, on_epoch
        self.class_weights, self.resume_command = class_weights, resume_command
        self.optimizers = optimizers.build(module, recipe.optimizer)
        self.schedule = make_schedule(recipe.schedule, total_steps=epochs * len(train))
        self.plateau = Plateau(recipe.schedule.gamma, recipe.schedule.patience)
        self.average = ExponentialMovingAverage(module, recipe.ema) if recipe.ema else None
        self.epoch = self.step = self.epochs_since_best = 0
        self.best: dict[str, Any] | None = None
        self.records: list[dict[str, Any]] = []
        self._best_weights: dict[str, Tensor] | None = None  # not on disk yet
        self._running = self._zeros()
        self._saved_at = self._epoch_began = time.perf_counter()
        self._images_here = 0

    # ---- the loop

    def fit(self) -> None:
        """Trains to the end, or to early stopping.

        Raises:
            DivergedError: a loss that is not finite; what was saved before stays.
            Interrupted: SIGINT or SIGTERM; the state was saved first.
        """
        while self.epoch < self.epochs and not self._out_of_patience():
            self._train_epoch()
            self._finish_epoch()
        self.save()

    def _train_epoch(self) -> None:
        self.module.train()
        self._epoch_began, self._images_here = time.perf_counter(), 0
        on_cpu = self.numeric.device == "cpu"
        for x, y in self.train_loader.epoch(self.epoch, start=self.step):
            self._set_learning_rate()
            loss = self._train_step(x, y)
            self.step += 1
            self._images_here += len(x)
            if on_cpu or self.step % _CHECK_EVERY == 0:
                self._require_finite(loss)
            self.progress.step(self.epoch, self.step - 1, len(x), loss.item() if on_cpu else None)
            if self.stop.signum is not None:
                self._save_and_leave(self.stop.signum)
            if time.perf_counter() - self._saved_at >= self.recipe.checkpoint_seconds:
                self.save()

    def _train_step(self, x: Tensor, y: Tensor) -> Tensor:
        torch.manual_seed(derive(self.seed, "dropout", self.epoch, self.step))
        with self._autocast():
            logits = self.module(x)
        loss = F.cross_entropy(
            logits.float(), y, weight=self.class_weights, label_smoothing=self.recipe.label_smoothing
        )
        objective = loss + self.recipe.l1 * self._l1_norm() if self.recipe.l1 else loss
        objective.backward()
        if self.recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.module)
        loss = loss.detach()
        with torch.no_grad():
            target = y if y.ndim == 1 else y.argmax(1)
            self._running["loss"] += loss * len(x)
            self._running["correct"] += (logits.argmax(1) == target).sum()
            self._running["seen"] += len(x)
        return loss

    def _autocast(self) -> torch.autocast:
        device = self.numeric.device.split(":")[0]
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.numeric.dtype == "bfloat16")

    def _l1_norm(self) -> Tensor:
        return torch.stack([p.abs().sum() for p in self.module.parameters() if p.ndim >= 2]).sum()

    def _set_learning_rate(self) -> None:
        factor = self.schedule(self.epoch * len(self.train_loader) + self.step) * self.plateau.factor
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor

    # ---- the end of an epoch

    def _finish_epoch(self) -> None:
        running = {name: value.item() for name, value in self._running.items()}
        self._require_finite(self._running["loss"])
        seconds = time.perf_counter() - self._epoch_began
        record: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "train_loss": running["loss"] / running["seen"],
            "train_accuracy": running["correct"] / running["seen"],
        }
        if self.val_loader is not None:
            record |= self._validate()
        record["lr"] = self.optimizers[0].param_groups[0]["lr"]
        record["images_per_second"] = round(self._images_here / seconds, 1) if self._images_here else None
        record["seconds"] = round(seconds, 3)
        self.records.append(record)
        self.progress.epoch_done(self.epoch, record)
        if self.on_epoch is not None:
            self.on_epoch(record)
        self.epoch, self.step, self._running = self.epoch + 1, 0, self._zeros()
        if time.perf_counter() - self._saved_at >= self.recipe.checkpoint_seconds:
            self.save()

    def _validate(self) -> dict[str, float]:
        assert self.val_loader is not None
        with self._averaged(), self._autocast():
            judged = evaluate(self.module, self.val_loader.epoch(0), self.classes)
            score = (judged.accuracy, -judged.loss)
            if self.best is None or score > (self.best["accuracy"], -self.best["loss"]):
                self.best = {"epoch": self.epoch + 1, "accuracy": judged.accuracy, "loss": judged.loss}
                self.epochs_since_best = 0
                self._best_weights = {name: t.detach().clone() for name, t in self.module.state_dict().items()}
            else:
                self.epochs_since_best += 1
        if not math.isfinite(judged.loss):
            self._diverged("the validation loss")
        if self.recipe.schedule.name == "plateau":
            self.plateau.observe(judged.loss)
        return {"val_loss": judged.loss, "val_accuracy": judged.accuracy}

    def _averaged(self) -> contextlib.AbstractContextManager[Any]:
        return self.average.swapped(self.module) if self.average is not None else contextlib.nullcontext()

    def _out_of_patience(self) -> bool:
        return self.recipe.early_stopping is not None and self.epochs_since_best >= self.recipe.early_stopping

    # ---- what can go wrong

    def _require_finite(self, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            self._diverged("the loss")

    def _diverged(self, what: str) -> None:
        kept = f"the weights of epoch {self.best['epoch']} are kept" if self.best else "no good weights exist yet"
        if self._best_weights is not None:
            self._write_best()
        raise DivergedError(
            f"training diverged: {what} is not finite in epoch {self.epoch + 1}, step {self.step}; {kept} in "
            f"{self.folder.path}; try a lower learning rate, such as --set optimizer.lr={self.recipe.optimizer.lr / 10:g}"
        )

    def _save_and_leave(self, signum: int) -> None:
        self.save()
        raise Interrupted(
            f"stopped in epoch {self.epoch + 1} of {self.epochs}, everything is saved; "
            f"go on with: {self.resume_command}",
            signum,
        )

    # ---- saving and going on

    def save(self) -> None:
        """Writes best weights, metrics and checkpoint, in this order: the checkpoint never knows more than the disk.

        A kill between two of the files leaves newer weights or metrics beside an older checkpoint; the resumed
        run computes the same bits again and writes the same files over them.
        """
        self._require_finite(self._running["loss"])
        if self.val_loader is None:
            with self._averaged():
                self._best_weights = dict(self.module.state_dict())
                self._write_best()
        elif self._best_weights is not None:
            self._write_best()
        self.folder.write_metrics(self.records)
        state, plain = optimizers.export_state(self.optimizers)
        tensors = {f"model.{name}": t for name, t in self.module.state_dict().items()}
        tensors |= {f"running.{name}": t for name, t in self._running.items()} | state
        if self.average is not None:
            tensors |= {f"ema.{name}": t for name, t in self.average.state_dict().items()}
        meta = {
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "epochs_since_best": self.epochs_since_best,
            "plateau": self.plateau.state_dict(),
            "optimizer": plain,
        }
        self.folder.write_arrays(self.folder.last, {name: _array(t) for name, t in tensors.items()}, meta)
        self._saved_at = time.perf_counter()

    def _write_best(self) -> None:
        assert self._best_weights is not None
        arrays = {name: _array(t) for name, t in self._best_weights.items()}
        self.folder.write_arrays(self.folder.weights, arrays, {"best": self.best})
        self._best_weights = None

    def restore(self) -> None:
        """Goes back to where `last.safetensors` was written. Raises `InputError` for a file that does not fit."""
        arrays, meta = unpack(self.folder.last)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        parts = {kind: _strip(tensors, kind) for kind in ("model", "ema", "running")}
        self.module.load_state_dict(parts["model"])
        if self.average is not None:
            self.average.load_state_dict(parts["ema"])
        optimizers.import_state(self.optimizers, tensors, meta["optimizer"])
        self._running = {name: t.to(self.numeric.device) for name, t in parts["running"].items()}
        self.plateau.load_state_dict(meta["plateau"])
        self.epoch, self.step, self.best = meta["epoch"], meta["step"], meta["best"]
        self.epochs_since_best = meta["epochs_since_best"]
        self.records = self.folder.read_metrics(last_epoch=self.epoch)

    def _zeros(self) -> dict[str, Tensor]:
        device = self.numeric.device
        precise = torch.float32 if device == "mps" else torch.float64
        return {
            "loss": torch.zeros((), dtype=precise, device=device),
            "correct": torch.zeros((), dtype=torch.int64, device=device),
            "seen": torch.zeros((), dtype=torch.int64, device=device),
        }


def _array(tensor: Tensor) -> Any:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).cpu().numpy()


def _strip(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}."): t for name, t in tensors.items() if name.startswith(f"{kind}.")}
