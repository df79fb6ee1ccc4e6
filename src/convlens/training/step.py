"""One step of training in PyTorch, in the order of the textbook."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import InputError, out_of_memory, reason
from convlens.classify.outputs import Outputs, read_outputs, refuse_probabilities, run
from convlens.training import groups
from convlens.training.updates import Optimizer

AUXILIARY = 0.3  # weight of the loss of each further output (Szegedy et al., 2015)
NO_GRADIENT = (
    "the outputs of the network depend on none of its trainable parameters: look for detach(), .data, no_grad() or a "
    "conversion to NumPy in its forward"
)


@dataclass
class Stepper:
    """A network and how it is trained; `step` does one step.

    network: what is called, the module or what `torch.compile` made of it.
    optimizers: their groups carry `base_lr`, the peak learning rate.
    classes: K. device: "cpu", "cuda:0", ...; bfloat16: whether activations are.
    smoothing, class_weights [K], l1, clip: see `Recipe`; `clip` is the largest norm of all gradients together.
    """

    network: Any
    module: nn.Module
    optimizers: list[Optimizer]
    classes: int
    device: str = "cpu"
    bfloat16: bool = False
    smoothing: float = 0.0
    class_weights: Tensor | None = None
    l1: float = 0.0
    clip: float | None = None

    def step(
        self, x: Tensor, y: Tensor, *, factor: float, seed: int, look: Callable[[Outputs], None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the mean loss and the logits [N, K], both of before the update.

        Args:
            x: images [N, C, H, W]. y: int64 [N], or float32 [N, K], the shares of the classes in mixed images.
            factor: of the peak learning rate. seed: names what dropout draws.
            look: sees the outputs, and the gradients in the module, before the update.
        """
        for optimizer in self.optimizers:  # learning rate
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
        draw_from(seed, self.device)
        with self.autocast():  # forward
            outputs = read_outputs(run(self.network, x), len(x), self.classes)
        loss = objective = self.loss(outputs.logits, y)  # loss
        for other in outputs.auxiliary:
            objective = objective + AUXILIARY * self.loss(other, y)
        if self.l1:
            objective = objective + self.l1 * l1_norm(self.module)
        backward(objective)  # backward
        if look is not None:
            look(outputs)
        if self.clip is not None:  # clip
            nn.utils.clip_grad_norm_(self.trained(), self.clip)
        for optimizer in self.optimizers:  # update
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach(), outputs.logits.detach()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.bfloat16)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), y, weight=self.class_weights, label_smoothing=self.smoothing)

    def trained(self) -> list[Tensor]:
        """The parameters that the optimizers change."""
        return [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]


def draw_from(seed: int, device: str) -> None:
    """`torch.manual_seed` for the device in use alone: looking for others takes a tenth of a small step."""
    if device.startswith("cpu"):
        torch.default_generator.manual_seed(seed)
    else:
        torch.get_device_module(device.split(":")[0]).manual_seed(seed)


def backward(objective: Tensor) -> None:
    """Gradients of all parameters. Raises `InputError` for a network that gives none."""
    if not objective.requires_grad:
        raise InputError(NO_GRADIENT)
    try:
        objective.backward()
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise InputError(f"the network gives no gradient: {reason(error)}") from error


def l1_norm(module: nn.Module) -> Tensor:
    """The sum of the absolute values of the weights; biases and normalization do not count."""
    norms = [p.abs().sum() for p in groups.weights(module).values()]
    return torch.stack(norms).sum() if norms else torch.zeros(())


def look_at_first_outputs(outputs: Outputs) -> list[str]:
    """Refuses, before the first update, outputs that no update can make good; says what else is trained."""
    refuse_probabilities(outputs.logits)
    if not bool(torch.isfinite(outputs.logits).all()):
        raise InputError("the network gives values that are not finite for the first batch, before any update")
    heads = len(outputs.auxiliary)
    return [f"auxiliary outputs of the network: {heads}; the loss of each counts {AUXILIARY}"] if heads else []


def look_at_first_gradients(module: nn.Module) -> list[str]:
    """Refuses a network of which nothing is trained; says what is not."""
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    without = [name for name, p in trainable.items() if p.grad is None]
    if len(without) == len(trainable):
        raise InputError(NO_GRADIENT)
    if not without:
        return []
    return [
        f"no gradient reached {len(without)} of the network's {len(trainable)} parameters in the first step, "
        f"such as {without[0]!r}: what its outputs do not depend on is not trained"
    ]
