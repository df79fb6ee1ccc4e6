"""Training throughput: Convlens beside the plain PyTorch loop that everybody writes, measured in turn in one run.

    python bench/training.py [--seconds 6] [--rounds 3]

The plain loop: `DataLoader` over float32 tensors, Adam, float32, contiguous memory, no augmentation. Ours: the engine
of `convlens train` as it settles itself on this machine, augmentation (flip, shift) and counting on. Images a second
of the training loop alone, after a warm-up of some steps, on noise. Writes bench/results/training.json.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from convlens.base.threads import wait_calmly

wait_calmly()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from convlens import data, models  # noqa: E402
from convlens.base.hardware import machine  # noqa: E402
from convlens.data.augment import Augmentation, Augmenter  # noqa: E402
from convlens.data.loader import Loader  # noqa: E402
from convlens.training import recipe as recipes  # noqa: E402
from convlens.training.settings import settle  # noqa: E402
from convlens.training.torch_engine import TorchEngine  # noqa: E402

Steps = Iterator[int]  # each step done yields its number of images
CASES = {
    "LeNet-5, 28x28, batch 512": ("lenet5", 512, (1, 28, 28)),
    "ResNet-18, 32x32, batch 128": ("resnet18_cifar", 128, (3, 32, 32)),
}


def pictures(shape: tuple[int, int, int], n: int) -> data.Images:
    channels, height, width = shape
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    return data.Images(pixels, rng.integers(0, 10, n), tuple("0123456789"), "noise")


def plain(name: str, batch: int, images: data.Images) -> Steps:
    torch.manual_seed(0)
    module = models.create(name).train()
    x = torch.from_numpy(images.pixels).permute(0, 3, 1, 2).float().div(255).contiguous()
    loader = DataLoader(
        TensorDataset(x, torch.from_numpy(images.labels)), batch_size=batch, shuffle=True, drop_last=True
    )
    optimizer = torch.optim.Adam(module.parameters())
    while True:
        for images_, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(module(images_), labels).backward()
            optimizer.step()
            yield len(labels)


def ours(name: str, batch: int, images: data.Images) -> Steps:
    numeric = settle()
    torch.manual_seed(0)
    module = models.create(name).to(numeric.device)
    module.to(memory_format=torch.channels_last)
    preprocess = data.Preprocess(images.shape[1:], images.shape[0]).fitted(images.pixels)
    augmentation = Augmentation(flip=images.shape[0] == 3, shift=2)
    loader = Loader(
        images, preprocess, batch_size=batch, device=numeric.device, dtype=numeric.torch_dtype,
        augmenter=Augmenter(augmentation), drop_last=True,
    )  # fmt: skip
    recipe = recipes.load("default", epochs=1)
    engine = TorchEngine(module, loader, None, classes=images.classes, recipe=recipe, numeric=numeric, seed=0)
    for epoch in range(10**6):
        for step, (x, y) in enumerate(engine.batches(epoch, 0)):
            engine.step(x, y, epoch=epoch, step=step, factor=0.01)
            yield len(y)


def speed(steps: Steps, seconds: float) -> float:
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        done += next(steps)
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often the two take turns")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training.json")
    arguments = parser.parse_args()
    rows = {}
    for title, (name, batch, shape) in CASES.items():
        images = pictures(shape, 8192)
        makers: dict[str, Callable[..., Steps]] = {"plain": plain, "ours": ours}
        runs = {key: maker(name, batch, images) for key, maker in makers.items()}
        for steps in runs.values():
            for _ in range(3):
                next(steps)
        found = {key: [] for key in runs}
        for _ in range(arguments.rounds):
            for key, steps in runs.items():
                found[key].append(speed(steps, arguments.seconds))
        ratios = [a / b for a, b in zip(found["ours"], found["plain"], strict=True)]
        rows[title] = {
            "ours_images_per_second": statistics.mean(found["ours"]),
            "plain_images_per_second": statistics.mean(found["plain"]),
            "ratio": statistics.mean(ratios),
            "ratio_std": statistics.stdev(ratios) if len(ratios) > 1 else 0.0,
            "n": len(ratios),
        }
        row = rows[title]
        print(f"{title:32s} {row['ours_images_per_second']:8,.0f} images/s, {row['ratio']:.2f} x the plain loop")
    result = {
        "machine": machine(), "load_average": os.getloadavg(), "torch": torch.__version__,
        "numeric": settle().to_dict(), "seed": 0, "rows": rows,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(result, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
