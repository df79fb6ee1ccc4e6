"""Layers that PyTorch lacks."""

from convlens.nn.local import LocallyConnected2d
from convlens.nn.normalization import KerasBatchNorm2d, LocalResponseNorm
from convlens.nn.same import AvgPool2dSame, Conv2dSame, MaxPool2dSame
from convlens.nn.separable import SeparableConv2d
from convlens.nn.whitening import WhiteningConv2d

__all__ = [
    "AvgPool2dSame",
    "Conv2dSame",
    "KerasBatchNorm2d",
    "LocalResponseNorm",
    "LocallyConnected2d",
    "MaxPool2dSame",
    "SeparableConv2d",
    "WhiteningConv2d",
]
