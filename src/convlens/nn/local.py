"""Locally connected layers: a convolution's windows without its shared weights."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.initial import pytorch_bound
from convlens.geometry import conv_size


class LocallyConnected2d(nn.Module):
    """Like `nn.Conv2d`, with a kernel of its own at every output position.

    Source: LeCun, "Generalization and network design strategies", 1989. Because each position has weights, the
    image size is fixed at construction.

    Shapes: weight (C_out, H_out * W_out, C_in * k * k), bias (C_out, H_out, W_out), input (N, C_in, H, W),
    output (N, C_out, H_out, W_out). Raises `ValueError` where the kernel does not fit or the input has another size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        image_size: tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.image_size = kernel_size, stride, padding, image_size
        self.out_size = tuple(conv_size(n, kernel_size, stride, padding) for n in image_size)
        cells = self.out_size[0] * self.out_size[1]
        self.weight = nn.Parameter(torch.empty(out_channels, cells, in_channels * kernel_size**2))
        self.bias = nn.Parameter(torch.empty(out_channels, *self.out_size)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(fan_in), as PyTorch's convolution."""
        bound = pytorch_bound(self.weight.shape[2])
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != tuple(self.image_size):
            found = tuple(x.shape[2:])
            raise ValueError(f"built for images of {self.image_size}, not {found}: one kernel per position")
        options: dict[str, Any] = {"stride": self.stride, "padding": self.padding}
        windows = F.unfold(x, self.kernel_size, **options)  # (N, C_in * k * k, cells)
        y = torch.einsum("nkp,opk->nop", windows, self.weight).unflatten(2, self.out_size)
        return y if self.bias is None else y + self.bias
