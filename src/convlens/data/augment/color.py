"""Changing values: brightness, contrast, saturation and noise of a whole batch, on float32 [n h w c] in 0..1."""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601)."""


def gray(x: Tensor) -> Tensor:
    """Luma of each pixel: [n h*w]."""
    n, h, w, c = x.shape
    if c == 1:
        return x.view(n, h * w)
    return x.view(n, h * w, c) @ x.new_tensor(LUMA)


def brightened(x: Tensor, factor: Tensor) -> Tensor:
    """Blended with black: factor [n] 0 is black, 1 the image. Cut to 0..1."""
    return (x * factor[:, None, None, None]).clamp_(0, 1)


def contrasted(x: Tensor, factor: Tensor) -> Tensor:
    """Blended with the image's mean gray. Cut to 0..1."""
    mean = gray(x).mean(dim=1)[:, None, None, None]
    return torch.lerp(mean, x, factor[:, None, None, None]).clamp_(0, 1)


def saturated(x: Tensor, factor: Tensor) -> Tensor:
    """Each pixel blended with its own gray. Cut to 0..1. Gray images stay as they are."""
    n, h, w, c = x.shape
    if c == 1:
        return x
    # one 3x3 matrix per image: factor * identity + (1 - factor) * gray
    to_gray = x.new_tensor(LUMA)[:, None].expand(3, 3)
    f = factor[:, None, None]
    matrix = f * torch.eye(3, device=x.device) + (1 - f) * to_gray
    return torch.bmm(x.view(n, h * w, c), matrix).clamp_(0, 1).view(n, h, w, c)


def noised(x: Tensor, sigma: float, generator: torch.Generator, size: int, rows: Tensor | None) -> Tensor:
    """With Gaussian noise of standard deviation `sigma` added. Not cut.

    The noise is drawn for a batch of `size` images, of which `x` are those at `rows` (int64 [n]), or all (None).
    """
    noise = torch.randn((size, *x.shape[1:]), generator=generator, device=x.device)
    return (noise if rows is None else noise.index_select(0, rows)).mul_(sigma).add_(x)
