"""Receptive fields by brute force: spoil one input pixel at a time and see which outputs it reaches."""

import torch
from torch import nn

Span = tuple[int, int]


def probed_spans(module: nn.Module, input_shape: tuple[int, ...]) -> list[list[Span | None]]:
    """For each axis of the image and each output cell along it, the first and last input cell that reach it.

    Not-a-number spreads through every sum, product and maximum that it enters, and through nothing else.
    """
    axes = input_shape[1:]
    pixels = torch.cartesian_prod(*(torch.arange(n) for n in axes)).reshape(-1, len(axes))
    x = torch.rand(len(pixels), *input_shape, dtype=torch.float64)
    for number, pixel in enumerate(pixels.tolist()):
        x[(number, slice(None), *pixel)] = torch.nan
    with torch.no_grad():
        reached = module.double().eval()(x).isnan().any(dim=1)  # [pixels, *output]
    result = []
    for axis, n in enumerate(axes):
        others = [dim + 1 for dim in range(len(axes)) if dim != axis]
        along = reached.any(dim=others) if others else reached  # [pixels, output cells of the axis]
        table = torch.stack([along[pixels[:, axis] == cell].any(dim=0) for cell in range(n)])
        result.append([_ends(table[:, cell]) for cell in range(table.shape[1])])
    return result


def _ends(reached: torch.Tensor) -> Span | None:
    cells = reached.nonzero().flatten().tolist()
    return (cells[0], cells[-1]) if cells else None
