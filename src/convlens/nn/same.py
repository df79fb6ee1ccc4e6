"""TensorFlow's `same` padding for any stride: output size ceil(n / stride), the odd cell after, not before.

With stride 1 and an odd kernel this is PyTorch's symmetric padding. With stride 2 on an even size it is not: a 3x3
kernel gets no cell before and one after, where `padding=1` gives one on both sides. Shapes agree, numbers do not.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from convlens.geometry import same_padding


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _sides(x: Tensor, kernel: Any, stride: Any, dilation: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right))"""
    k, s, d = _pair(kernel), _pair(stride), _pair(dilation)
    return same_padding(x.shape[2], k[0], s[0], d[0]), same_padding(x.shape[3], k[1], s[1], d[1])


def pad_same(x: Tensor, kernel: Any, stride: Any, dilation: Any = 1, value: float = 0.0) -> Tensor:
    """Pads (N, C, H, W) as TensorFlow's `same` does; gives `x` itself back where nothing is to be padded."""
    (top, bottom), (left, right) = _sides(x, kernel, stride, dilation)
    if not any((top, bottom, left, right)):
        return x
    return F.pad(x, (left, right, top, bottom), value=value)


class Conv2dSame(nn.Conv2d):
    """`nn.Conv2d` with `same` padding for any stride and dilation; same parameters, same names."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, **rest: Any):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=0, **rest)

    def forward(self, input: Tensor) -> Tensor:
        (top, bottom), (left, right) = _sides(input, self.kernel_size, self.stride, self.dilation)
        around = 0, 0
        if (top, left) == (bottom, right):  # left to the convolution, which need not write a padded copy
            around = top, left
        else:
            input = F.pad(input, (left, right, top, bottom))
        return F.conv2d(input, self.weight, self.bias, self.stride, around, self.dilation, self.groups)


class MaxPool2dSame(nn.MaxPool2d):
    """`nn.MaxPool2d` with `same` padding. Padded cells never win."""

    def __init__(self, kernel_size: Any, stride: Any = None):
        super().__init__(kernel_size, stride, padding=0)

    def forward(self, input: Tensor) -> Tensor:
        x = pad_same(input, self.kernel_size, self.stride, value=float("-inf"))
        return F.max_pool2d(x, self.kernel_size, self.stride)


class AvgPool2dSame(nn.AvgPool2d):
    """`nn.AvgPool2d` with `same` padding. Padded cells do not count in the average."""

    def __init__(self, kernel_size: Any, stride: Any = None):
        super().__init__(kernel_size, stride, padding=0)

    def forward(self, input: Tensor) -> Tensor:
        padded = pad_same(input, self.kernel_size, self.stride)
        mean = F.avg_pool2d(padded, self.kernel_size, self.stride)
        if padded is input:
            return mean
        inside = pad_same(input.new_ones(1, 1, *input.shape[2:]), self.kernel_size, self.stride)
        return mean / F.avg_pool2d(inside, self.kernel_size, self.stride)
