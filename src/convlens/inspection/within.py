"""A network in training seen from within: gradients, units that never fire, statistics of its normalizations."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.classify.caller import undisturbed
from convlens.classify.outputs import read_outputs, run
from convlens.inspection.dead import dead_units
from convlens.inspection.probe import Probe
from convlens.models.modes import evaluation_mode
from convlens.nn.private import BatchOrInstanceNorm

Figures = dict[str, dict[str, float]]


def look(module: nn.Module, x: Tensor, y: Tensor, classes: int) -> Figures:
    """By module path what a pass in evaluation mode and its gradient show; nothing of the network is changed.

    Args:
        module: a network that gives logits [N, K]. x: images [N, C, H, W]. y: int64 [N]. classes: K.

    Returns, where a module has it:
        gradient: root mean square of the gradient of the mean cross entropy, over the module's own parameters.
        input_mean, input_std: of what the first layer with weights is given.
        dead: the share of the channels (or neurons) behind a rectifier that are zero for every image, everywhere;
            named by the layer that it rectifies. units: how many there are.
        running_mean, running_var: largest magnitude and largest value of a batch normalization's statistics.
    """
    found: Figures = {}
    with undisturbed(), evaluation_mode(module):
        _gradients(module, x, y, classes, found)
    for rectifier in dead_units(module, [x]):
        figures = found.setdefault(rectifier.after or rectifier.name, {})
        figures |= {"dead": rectifier.dead / rectifier.units, "units": float(rectifier.units)}
    for path, part in module.named_modules():
        if isinstance(part, BatchOrInstanceNorm) and part.running_mean is not None and part.running_var is not None:
            figures = found.setdefault(path, {})
            figures["running_mean"] = float(part.running_mean.abs().max())
            figures["running_var"] = float(part.running_var.max())
    return found


def _gradients(module: nn.Module, x: Tensor, y: Tensor, classes: int, found: Figures) -> None:
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    weighted = {name.rpartition(".")[0] for name, p in parameters.items() if p.ndim >= 2}
    given: list[tuple[str, Tensor]] = []

    def first(path: str, tensor: Tensor) -> None:
        if not given:
            given.append((path, tensor.detach().float()))

    with Probe(module, sorted(weighted), keep=first):
        logits = read_outputs(run(module, x), len(x), classes).logits
    grads = torch.autograd.grad(F.cross_entropy(logits.float(), y), list(parameters.values()), allow_unused=True)
    squares: dict[str, list[Any]] = {}
    for name, gradient in zip(parameters, grads, strict=True):
        if gradient is not None:
            path = name.rpartition(".")[0]
            total, count = squares.get(path, (0.0, 0))
            squares[path] = [total + float(gradient.double().square().sum()), count + gradient.numel()]
    for path, (total, count) in squares.items():
        found.setdefault(path, {})["gradient"] = (total / count) ** 0.5
    for path, values in given:
        found.setdefault(path, {}).update(input_mean=float(values.mean()), input_std=float(values.std()))
