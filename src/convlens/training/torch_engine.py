"""The engine that works: a step of training in PyTorch."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.base.memory import keep_freed_memory
from convlens.base.seeds import derive
from convlens.classify.evaluation import Evaluation, evaluate
from convlens.classify.outputs import Outputs, read_outputs, refuse_probabilities, run
from convlens.data.loader import Loader
from convlens.training import groups, optimizers
from convlens.training.averaging import ExponentialMovingAverage, Lookahead
from convlens.training.recipe import Recipe
from convlens.training.settings import Numeric

_AUXILIARY = 0.3  # weight of the loss of each further output (Szegedy et al., 2015)
_NO_GRADIENT = (
    "the outputs of the network depend on none of its trainable parameters: look for detach(), .data, no_grad() or a "
    "conversion to NumPy in its forward"
)


class TorchEngine:
    """See `trainer.Engine`. Weights and optimiser state are float32; activations as `numeric` says."""

    def __init__(
        self,
        module: nn.Module,
        train: Loader,
        val: Loader | None,
        *,
        classes: tuple[str, ...],
        recipe: Recipe,
        numeric: Numeric,
        seed: int,
        class_weights: np.ndarray | None = None,
        output_weights: Collection[str] = (),
    ):
        self.module, self.train_loader, self.val_loader = module, train, val
        self.classes, self.recipe, self.numeric, self.seed = classes, recipe, numeric, seed
        self.class_weights = None
        if class_weights is not None:
            self.class_weights = torch.tensor(class_weights, dtype=torch.float32, device=numeric.device)
        self.optimizers = optimizers.build(module, recipe.optimizer, output_weights)
        self._trained = [
            p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]
        ]
        for parameter in self._trained:
            parameter.grad = None  # what the caller computed before is no part of the first step
        self._network: Any = module
        if numeric.compile:  # on a GPU as CUDA graphs: a small network's time goes into starting kernels one by one
            self._network = torch.compile(self._network, mode="reduce-overhead" if numeric.device != "cpu" else None)
        keep_freed_memory()
        self.average = ExponentialMovingAverage(module, recipe.ema) if recipe.ema else None
        total = recipe.epochs_for(len(train.images)) * len(train)
        self.lookahead = Lookahead(module, total, decay=recipe.lookahead) if recipe.lookahead else None
        self.steps_per_epoch, self.loss_is_at_hand = len(train), numeric.device == "cpu"
        self.on_note: Callable[[str], None] = lambda _: None
        self.reset_totals()

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        self.module.train()
        self._network.train()
        return self.train_loader.epoch(epoch, start=start)

    def step(self, x: Tensor, y: Tensor, *, epoch: int, step: int, factor: float) -> Tensor:
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = group["base_lr"] * factor
        self._seed(derive(self.seed, "dropout", epoch, step))
        outputs = self._forward(x)
        if epoch == step == 0:
            self._look_at_the_first(outputs)
        loss = self._loss(outputs.logits, y)
        objective = loss + _AUXILIARY * sum(self._loss(other, y) for other in outputs.auxiliary)
        if self.recipe.l1:
            objective = objective + self.recipe.l1 * self._l1_norm()
        self._backward(objective)
        if epoch == step == 0:
            self._look_at_the_gradients()
        if self.recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._trained, self.recipe.gradient_clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for average in (self.lookahead, self.average):
            if average is not None:
                average.update(self.module)
        return self._count(loss.detach(), outputs.logits.detach(), y)

    def _seed(self, seed: int) -> None:
        """`torch.manual_seed` for the device in use alone: looking for others takes a tenth of a small step."""
        device = self.numeric.device.split(":")[0]
        if device == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.get_device_module(device).manual_seed(seed)

    def _forward(self, x: Tensor) -> Outputs:
        with self._autocast():
            return read_outputs(run(self._network, x), len(x), len(self.classes))

    def _look_at_the_first(self, outputs: Outputs) -> None:
        """Refuses, before the first update, outputs that no update can make good; says what else is trained."""
        refuse_probabilities(outputs.logits)
        if not bool(torch.isfinite(outputs.logits).all()):
            raise InputError("the network gives values that are not finite for the first batch, before any update")
        if outputs.auxiliary:
            heads = len(outputs.auxiliary)
            self.on_note(f"auxiliary outputs of the network: {heads}; the loss of each counts {_AUXILIARY}")

    def _look_at_the_gradients(self) -> None:
        trainable = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        without = [name for name, p in trainable.items() if p.grad is None]
        if len(without) == len(trainable):
            raise InputError(_NO_GRADIENT)
        if without:
            self.on_note(
                f"no gradient reached {len(without)} of the network's {len(trainable)} parameters in the first step, "
                f"such as {without[0]!r}: what its outputs do not depend on is not trained"
            )

    def _backward(self, objective: Tensor) -> None:
        if not objective.requires_grad:
            raise InputError(_NO_GRADIENT)
        try:
            objective.backward()
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise InputError(f"the network gives no gradient: {reason(error)}") from error

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float(), y, weight=self.class_weights, label_smoothing=self.recipe.label_smoothing
        )

    def _autocast(self) -> torch.autocast:
        device = self.numeric.device.split(":")[0]
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.numeric.dtype == "bfloat16")

    def _l1_norm(self) -> Tensor:
        norms = [p.abs().sum() for p in groups.weights(self.module).values()]
        return torch.stack(norms).sum() if norms else torch.zeros((), device=self.numeric.device)

    def _count(self, loss: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        truth = y if y.ndim == 1 else y.argmax(1)  # mixed labels: the larger share
        self._totals["loss"] += loss * len(y)
        self._totals["correct"] += (logits.argmax(1) == truth).sum()
        self._totals["seen"] += len(y)
        return loss

    def totals(self) -> dict[str, float]:
        return {name: total.item() for name, total in self._totals.items()}

    def reset_totals(self) -> None:
        device = self.numeric.device
        precise = torch.float32 if device == "mps" else torch.float64
        self._totals = {
            "loss": torch.zeros((), dtype=precise, device=device),
            "correct": torch.zeros((), dtype=torch.int64, device=device),
            "seen": torch.zeros((), dtype=torch.int64, device=device),
        }

    def validate(self) -> Evaluation | None:
        if self.val_loader is None:
            return None
        with self._averaged(), self._autocast():
            return evaluate(self.module, self.val_loader.epoch(0), self.classes)

    def _averaged(self) -> contextlib.AbstractContextManager[Any]:
        return self.average.swapped(self.module) if self.average is not None else contextlib.nullcontext()

    def weights(self) -> dict[str, np.ndarray]:
        with self._averaged():
            return {name: _array(t).copy() for name, t in self.module.state_dict().items()}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        return ((name, _array(p)) for name, p in self.module.named_parameters())

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        tensors, plain = optimizers.export_state(self.optimizers)
        tensors |= {f"model.{name}": t for name, t in self.module.state_dict().items()}
        tensors |= {f"totals.{name}": t for name, t in self._totals.items()}
        for kind, average in (("average", self.average), ("lookahead", self.lookahead)):
            if average is not None:
                tensors |= {f"{kind}.{name}": t for name, t in average.state_dict().items()}
        return {name: _array(t) for name, t in tensors.items()}, plain

    def load_state(self, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        try:
            self.module.load_state_dict(_part(tensors, "model"))
        except RuntimeError as error:
            raise InputError(
                f"the checkpoint does not fit the network: {str(error).splitlines()[-1].strip()}"
            ) from None
        for kind, average in (("average", self.average), ("lookahead", self.lookahead)):
            if average is not None:
                average.load_state_dict(_part(tensors, kind))
        optimizers.import_state(self.optimizers, tensors, plain)
        totals = _part(tensors, "totals")
        if {name: (t.shape, t.dtype) for name, t in totals.items()} != {
            name: (t.shape, t.dtype) for name, t in self._totals.items()
        }:
            raise InputError("the sums over the epoch are not those that are counted")
        self._totals = {name: t.clone().to(self.numeric.device) for name, t in totals.items()}


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).cpu().numpy()


def _part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}."): t for name, t in tensors.items() if name.startswith(f"{kind}.")}
