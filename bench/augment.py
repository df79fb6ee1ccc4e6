"""Batched augmentation against one image at a time in Pillow, and its share of an epoch of training.

    python bench/augment.py [--repetitions N] [--threads N] [--out FILE]

Both sides start from the same uint8 array and end at normalized float32 batches of 128 on the CPU; the clock covers
the order of the epoch, gathering, augmentation and normalization, and nothing before (imports, reading the set). The
sides take turns, so that a busy machine slows both. Pillow runs on a part of the epoch. The share of training is the
time that augmentation adds to an epoch without it, over that of training steps (bfloat16 where the processor has it)
alone. Writes the log `augment`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

import logs
from convlens import models
from convlens.data.augment import Augmentation, spatial
from convlens.data.augment.augmenter import Augmenter
from convlens.data.images import Images
from convlens.data.loader import Loader
from convlens.data.preprocess import Preprocess
from convlens.training import settings

BATCH, SEED = 128, 0
IMAGES, PILLOW_IMAGES = 50_000, 2_500
GOAL_RATIO, GOAL_SHARE = 10.0, 0.05

CASES: dict[str, tuple[tuple[int, int, int], dict[str, Any], str, dict[str, Any]]] = {
    "CIFAR size, flip, shift 4, cutout 8": (
        (32, 32, 3), {"flip": True, "shift": 4, "cutout": 8}, "resnet18_cifar", {"in_channels": 3},
    ),
    "MNIST size, flip, shift 2": ((28, 28, 1), {"flip": True, "shift": 2}, "lenet5", {"in_channels": 1}),
}  # fmt: skip
EACH: dict[str, dict[str, Any]] = {
    "nothing": {}, "flip": {"flip": True}, "alternating flip": {"flip": "alternating"},
    "vertical flip": {"vertical_flip": True}, "quarter turns": {"quarter_turns": True}, "shift, zero": {"shift": 4},
    "shift, reflect": {"shift": 4, "padding": "reflect"}, "random resized crop": {"crop_scale": (0.3, 1.0)},
    "rotation": {"rotate": 15.0}, "brightness": {"brightness": 0.2}, "contrast": {"contrast": 0.2},
    "saturation": {"saturation": 0.2}, "noise": {"noise": 0.05}, "cutout": {"cutout": 8}, "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
}  # fmt: skip


def image_set(shape: tuple[int, int, int], n: int) -> Images:
    rng = np.random.default_rng(SEED)
    pixels = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 10, n), tuple("0123456789"))


def loader(images: Images, changes: dict[str, Any]) -> Loader:
    preprocess = Preprocess(images.pixels.shape[1:3], images.pixels.shape[3], (0.5,) * images.pixels.shape[3])
    augmenter = Augmenter(Augmentation(**changes), seed=SEED) if changes else None
    return Loader(images, preprocess, batch_size=BATCH, device="cpu", seed=SEED, augmenter=augmenter)


def epoch_of(images: Images, changes: dict[str, Any]) -> Callable[[], None]:
    """One epoch of batches, each looked at and dropped."""
    of, number = loader(images, changes), 0

    def run() -> None:
        nonlocal number
        for _ in of.epoch(number):
            pass
        number += 1

    return run


def epoch_in_pillow(images: Images, changes: dict[str, Any]) -> Callable[[], None]:
    """The same changes one image at a time, as data sets with transforms do them."""
    rng = np.random.default_rng(SEED)
    shift, side = changes.get("shift", 0), changes.get("cutout", 0)

    def one(pixels: np.ndarray) -> Tensor:
        image = Image.fromarray(pixels.squeeze())
        width, height = image.size
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, top = rng.integers(0, 2 * shift + 1, 2)
        image = ImageOps.expand(image, shift, fill=128 if image.mode == "L" else (128, 128, 128))
        image = image.crop((left, top, left + width, top + height))
        x = torch.from_numpy(np.array(image).reshape(height, width, -1)).permute(2, 0, 1).float().div_(255).sub_(0.5)
        if side:
            row, column = rng.integers(0, height), rng.integers(0, width)
            x[:, max(0, row - side // 2) : row + side // 2, max(0, column - side // 2) : column + side // 2] = 0
        return x

    def run() -> None:
        order = rng.permutation(len(images))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            torch.stack([one(images.pixels[i]) for i in chosen])
            torch.from_numpy(images.labels[chosen])

    return run


def training_step(name: str, arguments: dict[str, Any], shape: tuple[int, int, int]) -> Callable[[], None]:
    """One step of SGD on one batch that is there already."""
    torch.manual_seed(SEED)
    h, w, c = shape
    module = models.create(name, num_classes=10, **arguments).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    dtype = settings.DTYPES[settings.settle("cpu").dtype]
    x = torch.randn(BATCH, c, h, w).to(dtype=dtype, memory_format=torch.channels_last)
    y = torch.randint(0, 10, (BATCH,))

    def run() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = module(x)
        F.cross_entropy(logits.float(), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def ways_to_shift(n: int, h: int, w: int, c: int, limit: int) -> dict[str, Callable[[], Tensor]]:
    """What was tried for a shift of uint8 [n h w c] with a black border; all give the same pixels."""
    rng = np.random.default_rng(SEED)
    x = torch.from_numpy(rng.integers(0, 256, (n, h, w, c), dtype=np.uint8))
    down, right = torch.from_numpy(rng.integers(-limit, limit + 1, (2, n)))
    top, left, black, each = limit - down, limit - right, torch.zeros(c, dtype=torch.uint8), torch.arange(n)
    h_range, w_range = torch.arange(h), torch.arange(w)

    def padded() -> Tensor:
        return F.pad(x, (0, 0, limit, limit, limit, limit))

    def windows() -> Tensor:
        return padded().unfold(1, h, 1).unfold(2, w, 1).permute(0, 1, 2, 4, 5, 3)

    def by_masks() -> Tensor:
        source, out = padded(), torch.empty_like(x)
        for a in range(2 * limit + 1):
            for b in range(2 * limit + 1):
                mask = (top == a) & (left == b)
                out[mask] = source[mask, a : a + h, b : b + w]
        return out

    def by_index() -> Tensor:
        rows, columns = (top[:, None] + h_range)[:, :, None], (left[:, None] + w_range)[:, None, :]
        return padded()[each[:, None, None], rows, columns]

    return {
        "runs of rows (ours)": lambda: spatial.shifted(x, down, right, limit=limit, padding="zero", fill=black),
        "one masked copy an offset": by_masks,
        "an index for every pixel": by_index,
        "windows, PyTorch index": lambda: windows()[each, top, left],
        "windows, NumPy index": lambda: torch.from_numpy(windows().numpy()[each.numpy(), top.numpy(), left.numpy()]),
    }


def taking_turns(sides: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each side, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(repetitions + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def figures(seconds: list[float], images: int) -> dict[str, float]:
    """Microseconds per image."""
    each = [1e6 * value / images for value in seconds]
    spread = statistics.stdev(each) if len(each) > 1 else 0.0
    return {"median_us": statistics.median(each), "mean_us": statistics.mean(each), "std_us": spread, "n": len(each)}


def against_pillow(name: str, repetitions: int) -> dict[str, Any]:
    shape, changes, network, arguments = CASES[name]
    images, part = image_set(shape, IMAGES), image_set(shape, PILLOW_IMAGES)
    step = training_step(network, arguments, shape)
    seconds = taking_turns(
        {
            "ours": epoch_of(images, changes), "without augmentation": epoch_of(images, {}),
            "Pillow": epoch_in_pillow(part, changes), "training": step,
        },
        repetitions,
    )  # fmt: skip
    counts = {"ours": IMAGES, "without augmentation": IMAGES, "Pillow": PILLOW_IMAGES, "training": BATCH}
    result: dict[str, Any] = {side: figures(seconds[side], counts[side]) for side in seconds}
    median = {side: result[side]["median_us"] for side in seconds}
    return result | {
        "network": network,
        "epoch_seconds": median["ours"] * IMAGES / 1e6,
        "ratio": median["Pillow"] / median["ours"],
        "share_of_training": (median["ours"] - median["without augmentation"]) / median["training"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="in place of the log's own")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    cases = {name: against_pillow(name, arguments.repetitions) for name in CASES}
    for name, case in cases.items():
        print(
            f"{name}: {case['ours']['median_us']:.2f} us an image, Pillow {case['Pillow']['median_us']:.1f} us: "
            f"{case['ratio']:.0f}x (goal {GOAL_RATIO:.0f}x); {case['share_of_training']:.2%} of training "
            f"{case['network']} (goal {GOAL_SHARE:.0%})"
        )
    small = image_set((32, 32, 3), 5_120)
    seconds = taking_turns({name: epoch_of(small, changes) for name, changes in EACH.items()}, arguments.repetitions)
    each = {name: figures(times, len(small)) for name, times in seconds.items()}
    for name, row in each.items():
        print(f"  {name:20} {row['median_us']:7.2f} us an image, loading included")
    ways = {}
    for shape, limit in (((28, 28, 1), 2), ((32, 32, 3), 4)):
        sides = ways_to_shift(BATCH, *shape, limit)
        expected = sides["one masked copy an offset"]()
        if not all(torch.equal(run(), expected) for run in sides.values()):
            raise SystemExit("the ways to shift differ")
        times = taking_turns(sides, 10 * arguments.repetitions)
        ways[" x ".join(map(str, shape))] = {name: figures(values, BATCH) for name, values in times.items()}
    for shape, rows in ways.items():
        print(f"  shift of {shape}: " + ", ".join(f"{name} {row['median_us']:.2f}" for name, row in rows.items()))
    report = {
        "what": __doc__.strip().splitlines()[0],
        "clock": "order, gathering, augmentation, normalization; imports and reading the set excluded",
        "threads": arguments.threads, "batch": BATCH, "seed": SEED, "images": IMAGES, "pillow_images": PILLOW_IMAGES,
        "goal": {"ratio": GOAL_RATIO, "share_of_training": GOAL_SHARE},
        "cases": cases, "each_change_32x32x3": each, "ways_to_shift": ways,
    }  # fmt: skip
    logs.write("augment", report, arguments.out)


if __name__ == "__main__":
    main()
