"""The gradients of a network as one row of numbers, which is what processes exchange."""

from collections.abc import Sequence

import torch
from torch import Tensor

_NUMBERS = 8  # besides the gradients
_ALIGNED = 16  # numbers: where a gradient begins, so that each lies as in memory of its own


class Flat:
    """One row of float32: gradients in the memory formats of their parameters, which of them there are, and numbers.

    values: [n], n a multiple of `multiple`. numbers: its last part, of 8.
    """

    def __init__(self, parameters: Sequence[Tensor], multiple: int):
        starts, end = [], 0
        for parameter in parameters:
            starts.append(end)
            end += -(-parameter.numel() // _ALIGNED) * _ALIGNED
        there = end
        end += len(parameters) + _NUMBERS
        device = parameters[0].device if parameters else None
        self.values = torch.zeros(-(-end // (multiple * _ALIGNED)) * multiple * _ALIGNED, device=device)
        self.gradients = [
            self.values[start : start + p.numel()].as_strided(p.shape, _dense(p))
            for start, p in zip(starts, parameters, strict=True)
        ]
        self.there = self.values[there : there + len(parameters)]
        self.numbers = self.values[there + len(parameters) : end]

    def from_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        self.numbers.zero_()
        for place, (own, gradient) in enumerate(zip(self.gradients, gradients, strict=True)):
            self.there[place] = gradient is not None
            if gradient is None:
                own.zero_()
            else:
                own.copy_(gradient)

    def to_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Hands them to the parameters; a parameter that no gradient reached gets none."""
        for parameter, own, there in zip(parameters, self.gradients, self.there.tolist(), strict=True):
            parameter.grad = own if there else None


def _dense(parameter: Tensor) -> tuple[int, ...]:
    """The strides of the parameter in memory of its own."""
    return torch.empty_like(parameter).stride()
