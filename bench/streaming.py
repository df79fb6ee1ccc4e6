"""Photographs decoded as they are needed: our loader beside the `DataLoader` that everybody writes.

    python bench/streaming.py [--size 128] [--rounds 5]

Both sides go through an epoch of the photographs in $CONVLENS_DATA/photos.zip, unpacked into a folder: each is opened
with Pillow, scaled (bilinear, antialiased), cropped at the center, normalized, and stacked into float32 batches of 64
in a new order. Nothing is trained. The `DataLoader` runs with as many worker processes as is best for it, kept from
one epoch to the next. Sides take turns; images per second, after a first epoch that is not counted. The epoch of a set
that was decoded ahead stands beside them. Writes the log `streaming`.
"""

import argparse
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import logs
from convlens import data
from convlens.data.loader import Loader

BATCH = 64
WORKERS = (0, 1, 2)
Epoch = Callable[[], int]  # goes through an epoch, returns the number of images


class Photographs(Dataset):
    """What everybody writes."""

    def __init__(self, files: list[Path], size: int):
        self.files, self.size = files, size
        self.classes = sorted({file.parent.name for file in files})

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.files[index]).convert("RGB")
        scale = self.size / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        pixels = np.asarray(image.crop((left, top, left + self.size, top + self.size)))
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(255).sub_(0.5).div_(0.25)
        return x, self.classes.index(self.files[index].parent.name)


def plain(folder: Path, size: int, workers: int) -> Epoch:
    files = sorted(folder.glob("*/*.jpg"))
    loader = DataLoader(
        Photographs(files, size), batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: sum(len(y) for _, y in loader)


def ours(folder: Path, size: int, *, stream: bool) -> Epoch:
    preprocess = data.Preprocess((size, size), 3)
    parts = data.find(folder, stream=stream).read(preprocess).parts
    loaders = [
        Loader(images, preprocess.fitted(images.pixels), batch_size=BATCH, channels_last=False)
        for images in parts.values()
    ]
    return lambda: sum(len(y) for loader in loaders for _, y in loader.epoch(0))


def speed(epoch: Epoch) -> float:
    began = time.perf_counter()
    return epoch() / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="in place of the log's own")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CONVLENS_CACHE"] = f"{temporary}/cache"
        with zipfile.ZipFile(Path(os.environ["CONVLENS_DATA"]) / "photos.zip") as archive:
            archive.extractall(temporary)
        folder = Path(temporary) / "photos"
        sides: dict[str, Epoch] = {f"DataLoader, {n} workers": plain(folder, arguments.size, n) for n in WORKERS}
        sides |= {
            "ours": ours(folder, arguments.size, stream=True),
            "decoded ahead": ours(folder, arguments.size, stream=False),
        }
        for epoch in sides.values():
            epoch()
        found: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(arguments.rounds):
            for side, epoch in sides.items():
                found[side].append(speed(epoch))
    row: dict[str, Any] = {
        side: {"images_per_second": statistics.mean(speeds), "std": statistics.stdev(speeds), "n": len(speeds)}
        for side, speeds in found.items()
    }
    best = max((side for side in row if "DataLoader" in side), key=lambda side: row[side]["images_per_second"])
    ratio = statistics.mean(a / b for a, b in zip(found["ours"], found[best], strict=True))
    for side, figures in row.items():
        print(f"{side:24} {figures['images_per_second']:8,.0f} +- {figures['std']:.0f} images/s")
    print(f"{ratio:.2f} x {best}")
    report = {
        "what": "images per second of an epoch of photographs, read, decoded, scaled and normalized; nothing trained",
        "size": arguments.size, "batch": BATCH, "seed": 0, "best_peer": best, "ratio": ratio, "sides": row,
    }  # fmt: skip
    logs.write("streaming", report, arguments.out)


if __name__ == "__main__":
    main()
