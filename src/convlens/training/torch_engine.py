"""The engine that works: PyTorch. Its one step stands in `step`."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.base.memory import keep_freed_memory
from convlens.base.seeds import derive
from convlens.classify.evaluation import Evaluation, evaluate
from convlens.classify.outputs import Outputs
from convlens.data.loader import Loader
from convlens.training import frozen, optimizers
from convlens.training.averaging import ExponentialMovingAverage, Lookahead
from convlens.training.recipe import Recipe
from convlens.training.settings import Numeric
from convlens.training.step import Stepper, look_at_first_gradients, look_at_first_outputs


class TorchEngine:
    """See `loop.Engine`. Weights and optimizer state are float32; activations as `numeric` says.

    Attributes:
        averages: of the weights; a listener moves them on after each step (`callbacks.average`).
        on_note: is told, in words, what the first step found out about the network.
    """

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
        self.classes, self.numeric, self.seed = classes, numeric, seed
        self._frozen = frozen.parts(module, recipe.frozen)
        self.optimizers = optimizers.build(module, recipe.optimizer, output_weights)
        self._network: Any = module
        if numeric.compile:  # on a GPU as CUDA graphs: a small network's time goes into starting kernels one by one
            self._network = torch.compile(self._network, mode="reduce-overhead" if numeric.device != "cpu" else None)
        self.stepper = Stepper(
            self._network, module, self.optimizers, len(classes),
            device=numeric.device, bfloat16=numeric.dtype == "bfloat16", smoothing=recipe.label_smoothing,
            class_weights=_tensor(class_weights, numeric.device), l1=recipe.l1, clip=recipe.gradient_clip,
        )  # fmt: skip
        for parameter in self.stepper.trained():
            parameter.grad = None  # what the caller computed before is no part of the first step
        keep_freed_memory()
        self.average = ExponentialMovingAverage(module, recipe.ema) if recipe.ema else None
        total = recipe.epochs_for(len(train.images)) * len(train)
        self.lookahead = Lookahead(module, total, decay=recipe.lookahead) if recipe.lookahead else None
        self.averages = [each for each in (self.lookahead, self.average) if each is not None]
        self.steps_per_epoch, self.loss_is_at_hand = len(train), numeric.device == "cpu"
        self.on_note: Callable[[str], None] = lambda _: None
        self.reset_totals()

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        self._network.train()
        frozen.train_all_but(self.module, self._frozen)
        return self.train_loader.epoch(epoch, start=start)

    def step(self, x: Tensor, y: Tensor, *, epoch: int, step: int, factor: float) -> Tensor:
        look = self._look_at_the_first if epoch == step == 0 else None
        seed = derive(self.seed, "dropout", epoch, step)
        loss, logits = self.stepper.step(x, y, factor=factor, seed=seed, look=look)
        truth = y if y.ndim == 1 else y.argmax(1)  # mixed labels: the larger share
        self._totals["loss"] += loss * len(y)
        self._totals["correct"] += (logits.argmax(1) == truth).sum()
        self._totals["seen"] += len(y)
        return loss

    def _look_at_the_first(self, outputs: Outputs) -> None:
        for note in look_at_first_outputs(outputs) + look_at_first_gradients(self.module):
            self.on_note(note)

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
        with self._averaged(), self.stepper.autocast():
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


def _tensor(weights: np.ndarray | None, device: str) -> Tensor | None:
    return None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).cpu().numpy()


def _part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}."): t for name, t in tensors.items() if name.startswith(f"{kind}.")}
