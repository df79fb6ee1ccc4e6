"""Small networks that hold every kind of operation which can be traced, for an image of 4 x 9 x 9."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPE = (4, 9, 9)


class Does(nn.Module):
    """A convolution, then a function of its output."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


class Two(nn.Module):
    """Two convolutions, then a function of both outputs."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.one, self.other = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.one(x), self.other(x))


class FromImage(nn.Module):
    """A convolution whose kernels are computed from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernels(x.mean((2, 3))).reshape(2, 4, 1, 1))


def _unrolled(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1] = y[:, 0] * 2
    y[:, :, 3:5].add_(1)
    return y


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv2d": lambda: nn.Conv2d(4, 6, 3),
    "conv2d stride, dilation, groups": lambda: nn.Conv2d(
        4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=2, groups=2
    ),
    "conv2d same": lambda: nn.Conv2d(4, 3, 5, padding="same"),
    "conv2d depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False),
    "conv1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 6, 5, stride=2, padding=3, dilation=2, groups=2)),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(
        4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=(1, 2)
    ),
    "conv_transpose1d": lambda: nn.Sequential(nn.Flatten(2), nn.ConvTranspose1d(4, 6, 4, stride=3, padding=1)),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 81, 7)),
    "linear on rows": lambda: nn.Linear(9, 5, bias=False),
    "max_pool2d": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "max_pool2d dilated, ceil": lambda: nn.MaxPool2d(2, stride=3, dilation=2, ceil_mode=True),
    "max_pool1d": lambda: nn.Sequential(nn.Flatten(2), nn.MaxPool1d(3, padding=1)),
    "avg_pool2d": lambda: nn.AvgPool2d(3, stride=2, padding=1),
    "avg_pool2d not counting padding": lambda: nn.AvgPool2d(
        3, stride=2, padding=1, count_include_pad=False, ceil_mode=True
    ),
    "adaptive_avg_pool2d": lambda: nn.AdaptiveAvgPool2d((4, 2)),
    "adaptive_max_pool2d": lambda: nn.AdaptiveMaxPool2d((2, 5)),
    "mean": lambda: Does(lambda x: x.mean((2, 3))),
    "total": lambda: Does(lambda x: x.sum(1)),
    "variance": lambda: Does(lambda x: x.var((2, 3))),
    "largest": lambda: Does(lambda x: x.amax((2, 3))),
    "largest_first": lambda: Does(lambda x: x.max(1).values),
    "cumulative_sum": lambda: Does(lambda x: x.cumsum(2)),
    "batch_norm": lambda: nn.BatchNorm2d(4),
    "batch_norm of the image": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "instance_norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "instance_norm running": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "group_norm": lambda: nn.GroupNorm(2, 4),
    "layer_norm": lambda: nn.LayerNorm([9, 9]),
    "layer_norm over all": lambda: nn.LayerNorm([4, 9, 9], elementwise_affine=False),
    "rms_norm": lambda: nn.RMSNorm([9]),
    "local_response_norm": lambda: nn.LocalResponseNorm(3, alpha=0.5),
    "relu": lambda: nn.ReLU(),
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "prelu": lambda: nn.PReLU(4),
    "elu": lambda: nn.ELU(0.7),
    "selu": lambda: nn.SELU(),
    "celu": lambda: nn.CELU(1.3),
    "sigmoid": lambda: nn.Sigmoid(),
    "tanh": lambda: nn.Tanh(),
    "silu": lambda: nn.SiLU(),
    "gelu": lambda: nn.GELU(),
    "mish": lambda: nn.Mish(),
    "softplus": lambda: nn.Softplus(beta=2),
    "log_sigmoid": lambda: nn.LogSigmoid(),
    "hardtanh": lambda: nn.ReLU6(),
    "hardsigmoid": lambda: nn.Hardsigmoid(),
    "hardswish": lambda: nn.Hardswish(),
    "threshold": lambda: nn.Threshold(0.1, 0.5),
    "clamp": lambda: Does(lambda x: x.clamp(min=-0.1, max=0.3)),
    "absolute": lambda: Does(torch.abs),
    "exp": lambda: Does(torch.exp),
    "log": lambda: Does(lambda x: torch.log(x.abs() + 0.5)),
    "power": lambda: Does(lambda x: x.square()),
    "power below 0": lambda: Does(lambda x: (x.abs() + 1) ** -0.5),
    "root": lambda: Does(lambda x: torch.sqrt(x.abs())),
    "sin, cos": lambda: Does(lambda x: x.sin() + x.cos()),
    "log1p, expm1": lambda: Does(lambda x: x.abs().log1p() + x.expm1()),
    "softmax": lambda: nn.Softmax(1),
    "log_softmax": lambda: nn.LogSoftmax(1),
    "glu": lambda: nn.GLU(1),
    "add": lambda: Two(torch.add),
    "subtract": lambda: Two(torch.sub),
    "multiply": lambda: Two(torch.mul),
    "multiply by a number": lambda: Does(lambda x: 3 * x - 1),
    "divide": lambda: Two(lambda a, b: a / (1 + b.abs())),
    "reciprocal": lambda: Does(lambda x: 1 / (1 + x.abs())),
    "maximum": lambda: Two(torch.maximum),
    "minimum with a number": lambda: Does(lambda x: torch.minimum(x, torch.full_like(x, 0.1))),
    "where": lambda: Two(lambda a, b: torch.where(a > 0, a, b)),
    "matmul": lambda: Two(lambda a, b: a @ b.mT),
    "einsum": lambda: Two(lambda a, b: torch.einsum("nchw,ndhw->ncd", a, b)),
    "attention": lambda: Two(lambda a, b: F.scaled_dot_product_attention(a, b, b)),
    "concat": lambda: Two(lambda a, b: torch.cat([a, b], 1)),
    "stack": lambda: Two(lambda a, b: torch.stack([a, b], 1)),
    "pad": lambda: Does(lambda x: F.pad(x, (1, 2, 0, 3), value=0.7)),
    "pad reflect": lambda: Does(lambda x: F.pad(x, (1, 2, 0, 3), mode="reflect")),
    "flatten": lambda: nn.Flatten(),
    "permute": lambda: Does(lambda x: x.permute(0, 2, 3, 1)),
    "take, put": lambda: Does(_unrolled),
    "index": lambda: Does(lambda x: x[:, torch.tensor([3, 1, 1])]),
    "gather": lambda: Does(lambda x: x.gather(1, torch.zeros(1, 2, 9, 9, dtype=torch.int64))),
    "flip, roll": lambda: Does(lambda x: x.flip(2).roll(2, 3)),
    "pixel_shuffle": lambda: nn.PixelShuffle(2),
    "pixel_unshuffle": lambda: nn.PixelUnshuffle(3),
    "channel_shuffle": lambda: nn.ChannelShuffle(2),
    "upsample_nearest": lambda: nn.Upsample(scale_factor=2),
    "upsample_bilinear": lambda: nn.Upsample(size=(13, 5), mode="bilinear"),
    "upsample_bicubic": lambda: nn.Upsample(size=(13, 12), mode="bicubic", align_corners=True),
    "normalize": lambda: Does(lambda x: F.normalize(x, dim=1)),
    "stop_gradient": lambda: Does(lambda x: 2 * x.detach()),
    "round": lambda: Does(lambda x: (4 * x).round()),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 5, 3)),
    "kernels from the image": FromImage,
}
PIECEWISE_LINEAR = (
    *(name for name in LAYERS if "pool" in name or "conv" in name or name.startswith(("linear", "pad", "upsample"))),
    *("relu", "leaky_relu", "prelu", "batch_norm", "mean", "total", "largest", "largest_first", "cumulative_sum"),
    *("add", "subtract", "maximum", "where", "concat", "stack", "flatten", "permute", "take, put", "index", "gather"),
    *("flip, roll", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "multiply by a number", "weight_norm"),
    *("absolute", "instance_norm running"),
)


def built(name: str) -> nn.Module:
    """A network of this kind with random weights, statistics and scales, float64, in inference mode."""
    torch.manual_seed(sum(map(ord, name)))
    module = LAYERS[name]()
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) if tensor.ndim == 1 else torch.randn_like(tensor) / 3)
    return module.double().eval()


def an_image() -> Tensor:
    """float64 [1, 4, 9, 9]."""
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
