"""Training throughput: Convlens beside loops written by hand, measured in turn in one run.

    python bench/training.py [--seconds 6] [--rounds 3] [--keras PYTHON]

The plain loop: `DataLoader` over float32 tensors, Adam, float32, contiguous memory, no augmentation; for LeNet-5 at the
best of several batch sizes. The bare loop: what an expert writes for one machine: bfloat16 autocast where the processor
has it, channels-last, fused optimizer, batches cut from one tensor that was prepared before, no augmentation, nothing
counted. Ours: the engine of `convlens train` as it settles itself on this machine, augmentation (flip, shift, cutout)
and counting on. With the interpreter of an environment that has Keras, its `fit` takes turns too, on the same networks.
Images per second of the training loop alone, after some steps to warm up, on noise. Peak memory is that of a process of
its own after some steps of ResNet-18 (Linux only). Writes the log `training`.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from convlens.base.threads import limit_spinning

limit_spinning()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import logs  # noqa: E402
from convlens import data, models  # noqa: E402
from convlens.data.augment import Augmentation  # noqa: E402
from convlens.data.augment.augmenter import Augmenter  # noqa: E402
from convlens.data.loader import Loader  # noqa: E402
from convlens.training import recipe as recipes  # noqa: E402
from convlens.training.settings import DTYPES, settle  # noqa: E402
from convlens.training.torch_engine import TorchEngine  # noqa: E402

Steps = Iterator[int]  # each step done yields its number of images
CASES = {
    "LeNet-5, 28x28, batch 512": ("lenet5", 512, (1, 28, 28)),
    "ResNet-18, 32x32, batch 128": ("resnet18_cifar", 128, (3, 32, 32)),
}
PLAIN_BATCHES = {"lenet5": (128, 256, 512, 1024), "resnet18_cifar": (128,)}
GOALS = {"lenet5": {"plain": 3.0}, "resnet18_cifar": {"plain": 2.5, "bare": 0.97, "keras": 2.1}}
KERAS = Path(__file__).parent / "peers" / "keras_training.py"
KERAS_NAMES = {"lenet5": "lenet5", "resnet18_cifar": "resnet18"}


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


def bare(name: str, batch: int, images: data.Images) -> Steps:
    torch.manual_seed(0)
    dtype = DTYPES[settle().dtype]
    module = models.create(name).train().to(memory_format=torch.channels_last)
    x = torch.from_numpy(images.pixels).permute(0, 3, 1, 2).float().div(255).to(dtype)
    x, y = x.contiguous(memory_format=torch.channels_last), torch.from_numpy(images.labels)
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9, nesterov=True, fused=True)
    while True:
        for indices in torch.randperm(len(x)).split(batch):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16):
                loss = F.cross_entropy(module(x[indices]), y[indices])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield len(indices)


def ours(name: str, batch: int, images: data.Images) -> Steps:
    numeric = settle()
    torch.manual_seed(0)
    module = models.create(name).to(numeric.device)
    module.to(memory_format=torch.channels_last)
    preprocess = data.Preprocess(images.shape[1:], images.shape[0]).fitted(images.pixels)
    augmentation = Augmentation(flip=images.shape[0] == 3, shift=2, cutout=8)
    loader = Loader(
        images, preprocess, batch_size=batch, device=numeric.device, dtype=DTYPES[numeric.dtype],
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


class Keras:
    """Another process, idle until it is asked."""

    def __init__(self, python: Path, name: str, batch: int):
        command = [str(python), str(KERAS), KERAS_NAMES[name], str(batch)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.version = self._answer().removeprefix("ready ")

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended; run it by hand to see why")  # type: ignore[arg-type]
        return line.strip()

    def speed(self, seconds: float) -> float:
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)
        return float(self._answer())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


SIDES: dict[str, Callable[..., Steps]] = {"plain": plain, "bare": bare, "ours": ours}


def peak_memory(side: str, name: str, batch: int) -> float | None:
    """MiB that a process of one side has resident at most, some steps of training included."""
    command = [sys.executable, __file__, "--peak", side, name, str(batch)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(printed[-1]) if printed else None


def print_peak(side: str, name: str, batch: int) -> None:
    shape = next(shape for other, _, shape in CASES.values() if other == name)
    steps = SIDES[side](name, batch, pictures(shape, 2048))
    for _ in range(6):
        next(steps)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    print(*(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")))


def best_batch(name: str, images: data.Images, seconds: float) -> int:
    """Of the plain loop."""
    speeds = {batch: speed(plain(name, batch, images), seconds) for batch in PLAIN_BATCHES[name]}
    return max(speeds, key=lambda batch: speeds[batch])


def measure(
    name: str, batch: int, shape: tuple[int, int, int], seconds: float, rounds: int, python: Path | None
) -> dict:
    images = pictures(shape, 8192)
    batches = {"plain": best_batch(name, images, seconds / 2), "bare": batch, "ours": batch}
    runs = {side: SIDES[side](name, batches[side], images) for side in SIDES}
    for steps in runs.values():
        for _ in range(3):
            next(steps)
    row: dict = {"plain_batch_size": batches["plain"], "n": rounds, "goals": GOALS[name]}
    measures = {side: partial(speed, steps) for side, steps in runs.items()}
    if python:
        keras = Keras(python, name, batch)
        row["keras"] = keras.version
        measures["keras"] = keras.speed
    found = {side: [] for side in measures}
    for _ in range(rounds):
        for side, measure_ in measures.items():
            found[side].append(measure_(seconds))
    if python:
        keras.end()
    for side, speeds in found.items():
        row[f"{side}_images_per_second"] = statistics.mean(speeds)
        row[f"{side}_std"] = statistics.stdev(speeds) if rounds > 1 else 0.0
    for side in SIDES:
        row[f"{side}_peak_mib"] = peak_memory(side, name, batches[side])
    for side in found.keys() - {"ours"}:
        row[f"ratio_to_{side}"] = statistics.mean(a / b for a, b in zip(found["ours"], found[side], strict=True))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often the sides take turns")
    parser.add_argument("--keras", type=Path, metavar="PYTHON", help="of an environment with Keras")
    parser.add_argument("--peak", nargs=3, metavar=("SIDE", "NAME", "BATCH"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="in place of the log's own")
    arguments = parser.parse_args()
    if arguments.peak:
        side, name, batch = arguments.peak
        print_peak(side, name, int(batch))
        return
    rows = {}
    for title, (name, batch, shape) in CASES.items():
        row = rows[title] = measure(name, batch, shape, arguments.seconds, arguments.rounds, arguments.keras)
        peaks = " / ".join(f"{row[f'{side}_peak_mib'] or 0:,.0f}" for side in SIDES)
        print(
            f"{title:28s} {row['ours_images_per_second']:8,.0f} images/s: {row['ratio_to_plain']:.2f} x the plain loop "
            f"(batch {row['plain_batch_size']}), {row['ratio_to_bare']:.2f} x the bare one"
            + (f", {row['ratio_to_keras']:.2f} x Keras" if "keras" in row else "")
            + f"; MiB {peaks}",
            flush=True,
        )
    result = {
        "what": "images/s of the training loop; peak resident memory of a process (MiB)",
        "numeric": settle().to_dict(), "seed": 0, "rows": rows,
    }  # fmt: skip
    logs.write("training", result, arguments.out)


if __name__ == "__main__":
    main()
