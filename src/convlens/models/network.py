"""What every network of the zoo offers besides `forward`, and the small parts they share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import starmap
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.geometry import conv_size
from convlens.models.choices import Choices
from convlens.models.init import SCHEMES
from convlens.nn import KerasBatchNorm2d

ACTIVATIONS: Choices[type[nn.Module]] = Choices(
    "activation", {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "none": nn.Identity}
)
POOLS: Choices[type[nn.Module]] = Choices("pool", {"max": nn.MaxPool2d, "avg": nn.AvgPool2d})
NORMS: Choices[type[nn.Module]] = Choices("norm_layer", {"batch": nn.BatchNorm2d, "keras": KerasBatchNorm2d})
Make = Callable[..., nn.Module]  # what makes a layer, such as its class


class Stage(NamedTuple):
    """A place to look inside a network: the output (N, channels, H, W) or (N, channels) of one of its modules.

    Attributes:
        path: of the module whose output ends the stage, as in `module.get_submodule(path)`.
        channels: feature maps, or units of a dense layer.
        stride: pixels of the input from one cell of the maps to the next; None after a dense layer, where there are no
            cells, and in a network that makes images.
    """

    path: str
    channels: int
    stride: int | None


class Network(nn.Module):
    """A classifier in two parts: `features(x)` gives maps (N, C, H, W), `classifier` is the head that follows.

    Attributes:
        features: a method or module: images (N, C, H, W) to the last feature maps.
        classifier: the head.
        output_layers: paths of the layers with one output per class (several where there are auxiliary heads).
        stages: name -> `Stage` (path, channels, stride), in the order in which they run; for looking inside.
        init: name of the weight initialization in `convlens.models.init.SCHEMES`.
        zoo_name: the name that it was created by, if it was.
    """

    features: Any
    classifier: Any
    output_layers: tuple[str, ...] = ("classifier",)
    stages: dict[str, Stage]
    init: str = "pytorch"
    zoo_name: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))

    def init_layer(self, name: str, layer: nn.Module) -> None:
        """Draws the weights of one layer; a network whose paper treats some layers apart overrides it."""
        SCHEMES[self.init](layer)

    def initialize(self) -> None:
        """Draws all weights anew from PyTorch's generator. A network of shapes alone has none to draw."""
        if any(map(attrgetter("is_meta"), self.parameters())):
            return
        for name, layer in self.named_modules():
            if callable(getattr(layer, "reset_parameters", None)):
                self.init_layer(name, layer)

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the output layer (of each head) by a fresh one with `num_classes` outputs."""
        for path in self.output_layers:
            old = self.get_submodule(path)
            new = resized(old, num_classes)
            self.set_submodule(path, new)
            new.train(old.training)
            self.init_layer(path, new)


def resized(layer: Any, outputs: int) -> nn.Module:
    """A layer like this one, on its device and in its dtype, with another number of outputs, not yet initialized."""
    if hasattr(layer, "resized"):
        return layer.resized(outputs)
    weight, bias = layer.weight, layer.bias is not None
    where: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, outputs, bias=bias, **where)
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        kind: Any = type(layer)
        geometry = (layer.kernel_size, layer.stride, layer.padding)
        return kind(layer.in_channels, outputs, *geometry, bias=bias, **where)
    raise TypeError(f"no rule for another number of outputs of a {type(layer).__name__}")


def chain_size(layers: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width after a chain of convolutions and poolings. Raises `ValueError` where a kernel does not fit."""
    for layer in layers.modules():
        if not isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            continue
        kernel, stride, padding = map(_pair, (layer.kernel_size, layer.stride, layer.padding))
        windows = zip(size, kernel, stride, padding, _pair(getattr(layer, "dilation", 1)), strict=True)
        height, width = starmap(partial(conv_size, ceil=bool(getattr(layer, "ceil_mode", False))), windows)
        size = height, width
        if min(size) < 1:
            raise ValueError("nothing is left of the image")
    return size


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def flat_features(features: nn.Module, channels: int, image_size: tuple[int, int]) -> int:
    """How many numbers a chain of layers that ends in `channels` maps hands to a dense layer."""
    height, width = chain_size(features, image_size)
    return channels * height * width


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters; a tensor that several layers share counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


class _NoDraws(TorchFunctionMode):
    """Leaves out `torch.nn.init`: there is nothing to draw where there is no memory, and loading PyTorch's rules for
    random numbers without memory takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init" or func in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_within: ContextVar[bool] = ContextVar("within shapes_only", default=False)
_DRAWS = {torch.Tensor.uniform_, torch.Tensor.normal_}


@contextmanager
def shapes_only() -> Iterator[None]:
    """Inside, networks are built without memory and without drawing a weight (on the device `meta`)."""
    if _within.get():  # a second one would only double the work of each operation
        yield
        return
    with torch.device("meta"), _NoDraws():
        token = _within.set(True)
        try:
            yield
        finally:
            _within.reset(token)
