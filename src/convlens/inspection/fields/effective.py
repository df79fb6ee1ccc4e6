"""Effective receptive fields: which part of what a cell of a layer can see it really listens to.

It is measured: the gradient of the layer's middle cell with respect to the image. Source: Luo, Li, Urtasun and Zemel,
"Understanding the effective receptive field in deep convolutional neural networks", 2016, who found it to be much
smaller than the theoretical one, and bell-shaped.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convlens.geometry import FieldMap
from convlens.inspection.execution import Execution, captured

_IMAGES = 8
LUO_THRESHOLD = 1 - 0.9545  # of the largest gradient: what lies within two standard deviations of a bell


@dataclass(frozen=True)
class EffectiveField:
    """The measured receptive field of the middle cell of a layer.

    Attributes:
        size: square root (for d axes the d-th root) of the number of input cells whose gradient is at least 4.55 %
            of the largest: the side of the square that matters.
        theoretical: the same root of the theoretical field's cells that lie inside the image.
        map: mean absolute gradient by input cell, [*spatial], largest value 1 (all 0 if nothing arrives).
    """

    size: float
    theoretical: float
    map: Tensor

    @property
    def ratio(self) -> float:
        """Effective size as a share of the theoretical one."""
        return self.size / self.theoretical if self.theoretical else 0.0


def effective_fields(
    module: nn.Module, execution: Execution, layers: Mapping[int, tuple[FieldMap, ...]], *, seed: int = 0
) -> list[EffectiveField]:
    """Measures the effective receptive field of several layers from the gradient of their middle cell.

    Measured is the mean over 8 images of normal noise.

    Args:
        module: the network, run in evaluation mode with its weights as they are; nothing of it is changed.
        execution: its execution in evaluation mode, of an input [N, C, *spatial].
        layers: the theoretical fields along each axis of the layers, by their indices in the execution's calls; their
            outputs are [N, C, *spatial].
        seed: of the noise.
    """
    images = torch.randn(_IMAGES, *execution.input.shape[1:], generator=torch.Generator().manual_seed(seed))
    first = next(iter(module.parameters()), images)
    heats = [torch.zeros(images.shape[2:]) for _ in layers]
    for image in images:  # one at a time: the graph of one pass is what takes memory
        batch = image.expand(execution.batch, *image.shape)  # more than once where the network needs that
        x = batch.to(first.device, first.dtype, copy=True).requires_grad_()
        for heat, output in zip(heats, captured(module, x, execution, list(layers)), strict=True):
            heat += _gradient(x, output)
    return [
        _measured(heat, fields, _middle(execution.calls[index].output))
        for heat, (index, fields) in zip(heats, layers.items(), strict=True)
    ]


def _middle(output: Tensor | None) -> tuple[int, ...]:
    assert output is not None
    return tuple(n // 2 for n in output.shape[2:])


def _gradient(x: Tensor, output: Tensor) -> Tensor:
    """Absolute gradient of the middle cell, its channels summed, by cell of the image."""
    cell = output[(slice(None), slice(None), *_middle(output))].sum()
    (gradient,) = torch.autograd.grad(cell, x, retain_graph=True, allow_unused=True)
    return torch.zeros(x.shape[2:]) if gradient is None else gradient.abs().float().mean(dim=(0, 1)).cpu()


def _measured(heat: Tensor, fields: tuple[FieldMap, ...], middle: tuple[int, ...]) -> EffectiveField:
    peak = float(heat.max())
    cells = int((heat >= LUO_THRESHOLD * peak).sum()) if peak else 0
    inside = 1
    for field, i, n in zip(fields, middle, heat.shape, strict=True):
        span = field.at(i if field.advance is not None else min(i, len(field.cells) - 1))
        inside *= max(min(span[1], n - 1) - max(span[0], 0) + 1, 0) if span else 0
    root = 1 / heat.dim()
    return EffectiveField(cells**root, inside**root, heat / peak if peak else heat)
