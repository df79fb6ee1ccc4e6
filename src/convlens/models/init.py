"""Weight initialization, by name. Each scheme draws one layer anew; layers without weights are left alone.

A network names the scheme of its paper in `Network.init`. Batch norm always starts as the identity.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from convlens.base.initial import fans, glorot_deviation, he_deviation, lecun_bound, pytorch_bound, uniform_bound
from convlens.models.choices import Choices

Scheme = Callable[[Any], None]

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def fan_in(layer: Any) -> int:
    """How many inputs one output of the layer sums over."""
    weight = layer.weight
    if isinstance(layer, nn.ConvTranspose2d):  # its weight is (in, out / groups, k_h, k_w)
        return weight.shape[0] // layer.groups * weight[0, 0].numel()
    return weight[0].numel()


def pytorch(layer: Any) -> None:
    """PyTorch's default: weights and biases uniform in +-1/sqrt(fan_in)."""
    layer.reset_parameters()


def _zero_bias(layer: Any) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _scheme(draw: Callable[[Any], object]) -> Scheme:
    def initialize(layer: Any) -> None:
        if isinstance(layer, WEIGHTED):
            draw(layer)
            _zero_bias(layer)
        else:
            layer.reset_parameters()

    return initialize


def normal(std: float) -> Scheme:
    """Weights from N(0, std^2), biases 0."""
    return _scheme(lambda layer: nn.init.normal_(layer.weight, 0.0, std))


def _uniform(layer: Any, bound: float) -> None:
    nn.init.uniform_(layer.weight, -bound, bound)


def _he_fan_out(layer: Any) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.normal_(layer.weight, 0.0, he_deviation(fans(layer.weight.shape)[1]))
    else:  # the linear head of the common library keeps PyTorch's default
        _uniform(layer, pytorch_bound(fan_in(layer)))


SCHEMES: Choices[Scheme] = Choices(
    "init",
    {
        "pytorch": pytorch,
        # He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015: N(0, 2 / fan_in)
        "he": _scheme(lambda layer: nn.init.normal_(layer.weight, 0.0, he_deviation(fan_in(layer)))),
        # the same with fan_out in convolutions, as in the common library's ResNet
        "he_fan_out": _scheme(_he_fan_out),
        # Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010;
        # Keras' default
        "glorot": _scheme(lambda layer: _uniform(layer, uniform_bound(glorot_deviation(*fans(layer.weight.shape))))),
        # LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998, used in LeNet-5: uniform in +-2.4 / fan_in
        "lecun_1998": _scheme(lambda layer: _uniform(layer, lecun_bound(fan_in(layer)))),
        "normal_0.01": normal(0.01),
        "normal_0.02": normal(0.02),
        # N(0, 0.01^2) cut at +-2, as in the common library's GoogLeNet
        "truncated_0.01": _scheme(lambda layer: nn.init.trunc_normal_(layer.weight, 0.0, 0.01, -2, 2)),
    },
)
