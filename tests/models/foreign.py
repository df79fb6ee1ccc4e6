"""Small networks in the shapes that public repositories have, written anew: what somebody brings to `cl.train`.

`NETWORKS` maps a name to a function without arguments; each network takes images [N, 1, 16, 16] and tells 2 classes.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

CHANNELS, SIDE, CLASSES = 1, 16, 2


def conv_bn(i, o, k=3, s=1, g=1, act: type[nn.Module] = nn.ReLU):
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), act())


class Plain(nn.Module):
    """Convolutions by hand, `x.view(-1, ...)`, dropout between dense layers."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(CHANNELS, 6, 5), nn.Conv2d(6, 8, 3)
        self.fc1, self.fc2 = nn.Linear(8 * 2 * 2, 12), nn.Linear(12, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.view(-1, 8 * 2 * 2)))
        return self.fc2(F.dropout(x, 0.25, training=self.training))


class InvertedResidual(nn.Module):
    def __init__(self, i, o, stride, expand):
        super().__init__()
        hidden = i * expand
        self.same = stride == 1 and i == o
        self.conv = nn.Sequential(
            conv_bn(i, hidden, 1, act=nn.ReLU6), conv_bn(hidden, hidden, 3, stride, hidden, nn.ReLU6),
            nn.Conv2d(hidden, o, 1, bias=False), nn.BatchNorm2d(o),
        )  # fmt: skip

    def forward(self, x):
        return x + self.conv(x) if self.same else self.conv(x)


class MobileNetV2Like(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(CHANNELS, 8, 3, 2, act=nn.ReLU6), InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 12, 2, 3),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, CLASSES))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class SqueezeExcite(nn.Module):
    def __init__(self, c, r=4, gate=torch.sigmoid):
        super().__init__()
        self.fc1, self.fc2, self.gate = nn.Conv2d(c, c // r, 1), nn.Conv2d(c // r, c, 1), gate

    def forward(self, x):
        s = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.fc2(F.relu(self.fc1(s), inplace=True)))


class SEBlock(nn.Module):
    def __init__(self, i, o, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.se, self.relu = SqueezeExcite(o), nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 and i == o else nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        out += identity
        return self.relu(out)


class SEResNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_bn(CHANNELS, 8)
        self.layer1, self.layer2 = SEBlock(8, 8), SEBlock(8, 16, 2)
        self.fc = nn.Linear(16, CLASSES)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")

    def forward(self, x):
        x = self.layer2(self.layer1(self.stem(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class UNetLike(nn.Module):
    """Down, up by transposed convolution, concatenation, then one number per class."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = conv_bn(CHANNELS, 6), conv_bn(6, 12)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.merge, self.head = conv_bn(12, 6), nn.Conv2d(6, CLASSES, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        return self.head(self.merge(torch.cat([a, self.up(b)], dim=1))).mean(dim=(2, 3))


class ShuffleNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_bn(CHANNELS, 8, 3, 2)
        self.branch = nn.Sequential(conv_bn(4, 4, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=4, bias=False), conv_bn(4, 4, 1))
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        a, b = self.stem(x).chunk(2, dim=1)
        x = torch.cat((a, self.branch(b)), 1)
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.fc(x.mean(3).mean(2))


class DenseNetLike(nn.Module):
    def __init__(self, growth=4, layers=3):
        super().__init__()
        self.conv0 = nn.Conv2d(CHANNELS, 8, 3, padding=1, bias=False)
        self.block = nn.ModuleList(
            nn.Sequential(OrderedDict(
                norm=nn.BatchNorm2d(8 + i * growth), relu=nn.ReLU(inplace=True),
                conv=nn.Conv2d(8 + i * growth, growth, 3, padding=1, bias=False),
            ))
            for i in range(layers)
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(8 + layers * growth)
        self.classifier = nn.Linear(8 + layers * growth, CLASSES)

    def forward(self, x):
        features = [self.conv0(x)]
        for layer in self.block:
            features.append(layer(torch.cat(features, 1)))
        x = F.relu(self.norm(torch.cat(features, 1)), inplace=True)
        return self.classifier(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


class MBConv(nn.Module):
    def __init__(self, c, keep=0.8):
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(c, 2 * c, 1, act=nn.SiLU), conv_bn(2 * c, 2 * c, 5, g=2 * c, act=nn.SiLU), SqueezeExcite(2 * c),
            nn.Conv2d(2 * c, c, 1, bias=False), nn.BatchNorm2d(c),
        )  # fmt: skip
        self.keep = keep

    def forward(self, x):
        y = self.body(x)
        if self.training:  # stochastic depth, one coin per image
            y = y / self.keep * torch.bernoulli(torch.full((len(x), 1, 1, 1), self.keep, device=x.device)).to(x.dtype)
        return x + y


class EfficientNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(conv_bn(CHANNELS, 8, 3, 2, act=nn.SiLU), MBConv(8), MBConv(8))
        self.avgpool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c)
        self.gamma = nn.Parameter(1e-1 * torch.ones(c))

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.pwconv2(self.act(self.pwconv1(y)))).permute(0, 3, 1, 2)


class ConvNeXtLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(CHANNELS, 8, 4, 4), LayerNorm2d(8))
        self.blocks, self.norm = nn.Sequential(ConvNeXtBlock(8), ConvNeXtBlock(8)), nn.LayerNorm(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x)).mean([-2, -1])))


class SharedReLU(nn.Module):
    """One activation object and one convolution object, each used several times."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Conv2d(CHANNELS, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.relu(self.first(x))
        for _ in range(3):
            x = self.pool(self.relu(self.again(x)))
        return self.fc(x.amax((2, 3)))


class CosineHead(nn.Module):
    """Features and class vectors of length one, times a temperature."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv_bn(CHANNELS, 8, s=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.weight, self.scale = nn.Parameter(torch.randn(CLASSES, 8)), nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        return self.scale * F.linear(F.normalize(self.body(x), dim=1), F.normalize(self.weight))


class PatchTransformer(nn.Module):
    """Patches, a class token, a learnt position code, one block of attention by PyTorch's own layer."""

    def __init__(self, d=16):
        super().__init__()
        self.embed = nn.Conv2d(CHANNELS, d, 4, 4)
        self.cls_token, self.pos_embed = nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.zeros(1, 17, d))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, 2, batch_first=True)
        self.mlp, self.head = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d)), nn.Linear(d, CLASSES)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class SelfAttention2d(nn.Module):
    """Attention over the cells of a map, by hand, with a fixed sine position code in a buffer."""

    def __init__(self, c=8):
        super().__init__()
        self.stem, self.qkv, self.fc = conv_bn(CHANNELS, c, s=4), nn.Linear(c, 3 * c), nn.Linear(c, CLASSES)
        t = torch.arange(16.0)[:, None] / 10000 ** (torch.arange(0, c, 2) / c)
        self.register_buffer("position", torch.cat((t.sin(), t.cos()), 1))

    def forward(self, x):
        x = self.stem(x).flatten(2).permute(0, 2, 1) + self.position
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.fc((weights @ v).mean(1))


class Squeezing(nn.Module):
    """`squeeze()` without axis: a batch of one picture loses its batch axis."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(CHANNELS, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Conv2d(6, CLASSES, 1)

    def forward(self, x):
        return self.head(self.body(x)).squeeze()


class DictOutput(nn.Module):
    """Logits beside features, as in networks for several tasks."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(CHANNELS, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, pixel_values):
        features = self.body(pixel_values)
        return {"features": features, "logits": self.fc(features)}


class Branches(nn.Module):
    """Auxiliary heads in training, logits alone in evaluation."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv_bn(CHANNELS, 6, s=2), conv_bn(6, 8, s=2)
        self.aux, self.fc = nn.Linear(6, CLASSES), nn.Linear(8, CLASSES)

    def forward(self, x):
        a = self.a(x)
        out = self.fc(self.b(a).mean((2, 3)))
        return (out, self.aux(a.mean((2, 3)))) if self.training else out


class InceptionLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_bn(CHANNELS, 8, s=2)
        self.branches = nn.ModuleList([
            conv_bn(8, 4, 1), nn.Sequential(conv_bn(8, 4, 1), conv_bn(4, 4, 3)),
            nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv_bn(8, 4, 1)),
        ])  # fmt: skip
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        return self.fc(torch.cat([branch(x) for branch in self.branches], 1).mean((2, 3)))


class WideActivations(nn.Module):
    """A different activation after each layer, group norm and instance norm."""

    def __init__(self):
        super().__init__()
        kinds = nn.Hardswish(), nn.LeakyReLU(0.1), nn.Tanh(), nn.Hardsigmoid()
        norms = nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True), nn.BatchNorm2d(8), nn.Identity()
        layers, width = [], CHANNELS
        for activation, norm in zip(kinds, norms, strict=True):
            layers += [nn.Conv2d(width, 8, 3, padding=1), norm, activation]
            width = 8
        self.layers, self.fc = nn.Sequential(*layers, nn.MaxPool2d(4)), nn.Linear(8 * 16, CLASSES)

    def forward(self, x):
        return self.fc(self.layers(x).reshape(x.size(0), -1))


class Recurrent(nn.Module):
    """One block applied in a loop, with weights that are shared between the turns."""

    def __init__(self, turns=4):
        super().__init__()
        self.turns, self.enter, self.cell = turns, nn.Conv2d(CHANNELS, 8, 3, 2, 1), nn.Conv2d(16, 8, 3, padding=1)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.enter(x)
        h = torch.zeros_like(x)
        for _ in range(self.turns):
            h = torch.tanh(self.cell(torch.cat((x, h), 1)))
        return self.out(h.mean(dim=-1).mean(dim=-1))


class TiedWeights(nn.Module):
    """Two layers with one parameter."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(CHANNELS, 8, 3, padding=1)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.b.weight = self.a.weight
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.fc(F.relu(self.b(F.relu(self.a(F.relu(self.enter(x)))))).mean((2, 3)))


class PreActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(CHANNELS, 8, 3, 1, 1, bias=False)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 2, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(8, momentum=None), nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        out = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return self.fc(F.avg_pool2d(out + F.avg_pool2d(x, 2), 8)[:, :, 0, 0])


class NormalisingInput(nn.Module):
    """Mean and deviation of the pixels inside the network."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, CHANNELS, 1, 1), 0.4))
        self.register_buffer("std", torch.full((1, CHANNELS, 1, 1), 0.3), persistent=False)
        self.body = nn.Sequential(nn.Conv2d(CHANNELS, 8, 3, 2), nn.PReLU(8), nn.AdaptiveMaxPool2d(2), nn.Flatten())
        self.fc = nn.Linear(32, CLASSES)

    def forward(self, x):
        return self.fc(self.body((x - self.mean) / self.std))


class SpatialPyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = conv_bn(CHANNELS, 6), nn.Linear(6 * (1 + 4 + 16), CLASSES)

    def forward(self, x):
        x = self.conv(x)
        return self.fc(torch.cat([F.adaptive_max_pool2d(x, k).flatten(start_dim=1) for k in (1, 2, 4)], dim=1))


class DilatedContext(nn.Module):
    """Branches of different dilation, brought back to one size by interpolation."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(CHANNELS, 6, 3, 2, 1)
        self.branches = nn.ModuleList(nn.Conv2d(6, 4, 3, padding=d, dilation=d) for d in (1, 2, 3))
        self.fc = nn.Conv2d(18, CLASSES, 1)

    def forward(self, x):
        x = F.relu(self.enter(x))
        whole = F.interpolate(F.adaptive_avg_pool2d(x, 1), size=x.shape[2:], mode="bilinear", align_corners=False)
        x = torch.cat([whole, *(F.relu(b(x)) for b in self.branches)], 1)
        return self.fc(x).mean((-1, -2))


def block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2))


def vgg_like():
    return nn.Sequential(block(CHANNELS, 6), block(6, 8), nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Dropout(),
                         nn.Linear(16, CLASSES))  # fmt: skip


def lazy():
    return nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES))


def spectral():
    wrap = parametrizations.spectral_norm
    return nn.Sequential(
        wrap(nn.Conv2d(CHANNELS, 6, 3, 2, 1)), nn.LeakyReLU(0.2, inplace=True), wrap(nn.Conv2d(6, 8, 3, 2, 1)),
        nn.LeakyReLU(0.2, inplace=True), nn.Flatten(), wrap(nn.Linear(128, CLASSES)),
    )  # fmt: skip


def weight_normed():
    wrap = parametrizations.weight_norm
    return nn.Sequential(wrap(nn.Conv2d(CHANNELS, 6, 3, 2)), nn.ELU(), nn.Flatten(), wrap(nn.Linear(294, CLASSES)))


def all_convolutional():
    return nn.Sequential(
        conv_bn(CHANNELS, 8), nn.Dropout2d(0.1), conv_bn(8, 8, s=2), conv_bn(8, CLASSES, 1), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )  # fmt: skip


def log_softmax():
    return nn.Sequential(conv_bn(CHANNELS, 4, s=2), nn.Flatten(), nn.Linear(256, CLASSES), nn.LogSoftmax(dim=1))


NETWORKS = {
    "plain": Plain, "MobileNetV2": MobileNetV2Like, "SE-ResNet": SEResNetLike, "U-Net": UNetLike,
    "ShuffleNet": ShuffleNetLike, "DenseNet": DenseNetLike, "EfficientNet": EfficientNetLike,
    "ConvNeXt": ConvNeXtLike, "shared layers": SharedReLU, "cosine head": CosineHead,
    "patch transformer": PatchTransformer, "attention by hand": SelfAttention2d, "squeeze": Squeezing,
    "dict output": DictOutput, "auxiliary heads": Branches, "Inception": InceptionLike,
    "many activations": WideActivations, "loop": Recurrent, "tied weights": TiedWeights,
    "pre-activation": PreActivation, "input normalized inside": NormalisingInput, "pyramid": SpatialPyramid,
    "dilated context": DilatedContext, "VGG": vgg_like, "lazy": lazy, "spectral norm": spectral,
    "weight norm": weight_normed, "all convolutional": all_convolutional, "log-softmax": log_softmax,
    "stem alone": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CLASSES, SIDE), nn.Flatten()),
}  # fmt: skip
