"""Networks and pictures for the tests of explanations."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.classify.classifier import Classifier
from convlens.data import Images, Preprocess
from convlens.inspection.explain import Pictures, Subject

CLASSES = ("ant", "bee", "cat")


class Written(nn.Module):
    """One small network, its activations written in one of four ways."""

    WAYS = ("modules", "functions", "in place", "shared")

    def __init__(self, way: str, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.way = way
        self.c1, self.c2 = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3)
        self.f1, self.f2 = nn.Linear(8 * 25, 12), nn.Linear(12, 3)
        if way == "modules":
            self.a1, self.a2, self.a3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        if way == "in place":
            self.a1, self.a2, self.a3 = (nn.ReLU(inplace=True) for _ in range(3))
        if way == "shared":
            self.a = nn.ReLU()
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3

    def _relu(self, number: int, x: Tensor) -> Tensor:
        if self.way == "functions":
            return F.relu(x)
        return self.a(x) if self.way == "shared" else getattr(self, f"a{number}")(x)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self._relu(1, self.c1(x)), 2)
        x = self._relu(2, self.c2(x)).flatten(1)
        return self.f2(self._relu(3, self.f1(x)))


class Passes:
    """How many passes a network and its copies have begun, and which of them are to fail."""

    def __init__(self) -> None:
        self.begun = 0
        self.failing: dict[int, BaseException] = {}

    def __deepcopy__(self, _memo: Any) -> "Passes":
        return self

    def begin(self) -> None:
        self.begun += 1
        if error := self.failing.get(self.begun):
            raise error


class Normed(nn.Module):
    """Batch normalization, dropout, a residual addition, a frozen layer: what could be left changed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.pool, self.drop = nn.MaxPool2d(2), nn.Dropout(0.5)
        self.out = nn.Linear(4 * 49, 3)
        self.passes = Passes()

    def forward(self, x: Tensor) -> Tensor:
        self.passes.begin()
        x = self.first(x)
        x = F.relu(x + self.second(x))
        return self.out(self.drop(self.pool(x)).flatten(1))


def subject_of(module: Any, channels: int = 1, size: int = 14, classes: tuple[str, ...] = CLASSES) -> Subject:
    preprocess = Preprocess((size, size), channels, mean=(0.4,) * channels, std=(0.3,) * channels)
    notes: list[str] = []
    return Subject(
        Classifier(module, preprocess, classes), "a network", lambda: images(channels, size, classes), notes.append
    )


def pictures(n: int = 3, channels: int = 1, size: int = 14) -> Pictures:
    pixels = np.random.default_rng(1).integers(0, 256, (n, size, size, channels), np.uint8)
    return Pictures(pixels, tuple(f"p{k}.png" for k in range(n)))


def images(channels: int, size: int, classes: tuple[str, ...]) -> Images:
    """A small data set for methods that search one."""
    pixels = np.random.default_rng(2).integers(0, 256, (24, size, size, channels), np.uint8)
    return Images(pixels, np.arange(24) % len(classes), classes, "noise")


def tensor(subject: Subject, given: Pictures) -> Tensor:
    """The network's input, float32 [N, C, H, W]."""
    mean, std = subject.preprocess.mean[0], subject.preprocess.std[0]
    return torch.from_numpy((given.pixels.transpose(0, 3, 1, 2) / 255 - mean) / std).float()
