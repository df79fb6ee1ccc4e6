"""Depthwise-separable convolution."""

from typing import Any

from torch import Tensor, nn

from convlens.nn.same import Conv2dSame


class SeparableConv2d(nn.Module):
    """One k x k kernel per channel, then 1x1 across channels: k*k*C_in + C_in*C_out weights instead of k*k*C_in*C_out.

    Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017. No activation between.

    Args:
        in_channels, out_channels, kernel_size, stride, dilation: as in `nn.Conv2d`.
        padding: as in `nn.Conv2d`, or "same" for TensorFlow's rule at any stride.
        multiplier: kernels for each input channel.
        bias: whether the 1x1 convolution has one (the depthwise one has none).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: Any = 0,
        dilation: int = 1,
        *,
        multiplier: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        middle = in_channels * multiplier
        common: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": in_channels, "bias": False}
        if padding == "same":
            self.depthwise: nn.Conv2d = Conv2dSame(in_channels, middle, kernel_size, **common)
        else:
            self.depthwise = nn.Conv2d(in_channels, middle, kernel_size, padding=padding, **common)
        self.pointwise = nn.Conv2d(middle, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))
