"""The pointing game (Zhang et al. 2016): does the largest value of a map lie on the object?

A digit is pasted somewhere into noise that has the same brightness pixel by pixel, and a network learns to name it. A
map that shows what the network looks at has its peak in the box of the digit; that of random weights does not.
"""

import numpy as np
import pytest
import torch
from torch import nn

import convlens as cl
from convlens.data import Images, Preprocess, find
from convlens.inspection.explain import METHODS, Options, Pictures, Subject
from convlens.inspection.explain.randomized import randomized

SIZE = 56


def pasted(part: Images, n: int, seed: int) -> tuple[Images, np.ndarray]:
    """n digits in noise, and their boxes [n, 4]: top, bottom, left, right, the ends excluded."""
    rng = np.random.default_rng(seed)
    digits = np.asarray(part.pixels)
    pixels = rng.choice(digits[:2000].ravel(), (n, SIZE, SIZE, 1))
    which, boxes = rng.permutation(len(digits))[:n], []
    for k, i in enumerate(which):
        ink = np.argwhere(digits[i, ..., 0] > 64)
        (top, left), (bottom, right) = ink.min(0), ink.max(0) + 1
        digit = digits[i, top:bottom, left:right]
        height, width = digit.shape[:2]
        row, column = rng.integers(0, SIZE - height + 1), rng.integers(0, SIZE - width + 1)
        pixels[k, row : row + height, column : column + width] = digit
        boxes.append((row, row + height, column, column + width))
    return Images(pixels, part.labels[which], part.classes, "pasted"), np.array(boxes)


def network() -> nn.Module:
    def block(c: int, n: int, k: int) -> list[nn.Module]:
        return [nn.Conv2d(c, n, k, padding=k // 2, bias=False), nn.BatchNorm2d(n), nn.ReLU()]

    torch.manual_seed(0)
    features = [*block(1, 16, 5), nn.MaxPool2d(2), *block(16, 32, 5), nn.MaxPool2d(2), *block(32, 64, 5)]
    return nn.Sequential(*features, *block(64, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def hits(maps: np.ndarray, boxes: np.ndarray) -> float:
    """The share of maps, not constant, whose largest value lies in the box."""
    flat = maps.reshape(len(maps), -1)
    y, x = np.divmod(flat.argmax(1), SIZE)
    inside = (boxes[:, 0] <= y) & (y < boxes[:, 1]) & (boxes[:, 2] <= x) & (x < boxes[:, 3])
    return float((inside & (flat.min(1) < flat.max(1))).mean())


@pytest.mark.slow
def test_maps_of_a_trained_network_point_at_the_digit_and_those_of_random_weights_do_not(real_data, tmp_path):
    parts = find("mnist", root=real_data).read(Preprocess((28, 28), 1)).parts
    train, _ = pasted(parts["train"], 16_000, 0)
    test, boxes = pasted(parts["test"], 200, 1)
    run = cl.train(network(), {"train": train, "test": test}, epochs=5, out=tmp_path / "r", quiet=True)
    subject = Subject(run.classifier(), on_note=lambda note: None)
    given = Pictures(np.asarray(test.pixels), tuple(map(str, range(len(test)))))
    options = Options(target=tuple(test.classes[k] for k in test.labels), quiet=True)
    found = {
        name: [hits(method.function(s, given, options).arrays["maps"], boxes) for s in (subject, randomized(subject))]
        for name, method in METHODS.items()
        if method.group == "attribution"
    }
    print({"accuracy": run.results["test"]["accuracy"], **found})
    assert min(found["grad-cam"][0], found["occlusion"][0]) >= 0.9
    assert min(trained for name, (trained, _) in found.items() if name not in ("saliency", "deconvolution")) >= 0.85
    for trained, random in found.values():
        assert random <= min(0.4, trained / 2)
