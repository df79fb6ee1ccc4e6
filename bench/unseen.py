"""`--recipe fast` on sets that it was never tuned on: does it fail, and what would five times the epochs bring?

    python bench/unseen.py [--model sprint] [--seeds 2] [--long 5]

Sets: digits at their own 8x8 pixels; 5,000 images of MNIST; photographs at 64x64; a split of our own of the CIFAR-10
JPEGs (a fifth of its training images, another fifth to test). Looked for in $CONVLENS_DATA. Each run uses a validation
split and keeps its best epoch; the test accuracy is what counts. Writes the log `unseen`.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from convlens.base.threads import limit_spinning

limit_spinning()

import numpy as np  # noqa: E402

import convlens as cl  # noqa: E402
import logs  # noqa: E402
from convlens import data  # noqa: E402


def sets() -> dict[str, tuple[Any, int | None]]:
    """name -> (data, side of the input)."""
    root = Path(os.environ["CONVLENS_DATA"])
    mnist = data.find("mnist").raw()
    cifar = data.find("cifar10-jpeg").read(data.Preprocess((32, 32), 3)).parts["train"]
    order = np.random.default_rng(0).permutation(len(cifar))  # they come class by class
    cifar_parts = {"train": cifar.select(order[:10_000]), "test": cifar.select(order[10_000:20_000])}
    return {
        "digits at 8x8": ("digits", 8),
        "5,000 of MNIST": ({"train": mnist["train"].select(slice(5000)), "test": mnist["test"]}, None),
        "photographs at 64x64": (str(root / "photos.zip"), 64),
        "own split of CIFAR-10 (JPEG)": (cifar_parts, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sprint")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--long", type=int, default=5, help="times the epochs")
    parser.add_argument("--only", help="part of a set's name")
    parser.add_argument("--val", action="store_true", help="print validation figures, for choosing settings")
    parser.add_argument("--out", type=Path, help="in place of the log's own")
    arguments = parser.parse_args()

    def accuracies(source: Any, size: int | None, epochs: int | None) -> tuple[list[float], float, int]:
        found, seconds, spent = [], 0.0, 0
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                run = cl.train(
                    arguments.model, source, recipe=arguments.recipe, size=size, epochs=epochs, seed=seed,
                    out=Path(folder) / "run", quiet=True, tensorboard=False,
                )  # fmt: skip
                seconds += time.perf_counter() - began
                spent = run.results["epochs"]
                found.append(100 * run.results["val" if arguments.val else "test"]["accuracy"])
        return found, seconds / arguments.seeds, spent

    rows = {}
    for name, (source, size) in sets().items():
        if arguments.only and arguments.only not in name:
            continue
        short, short_seconds, epochs = accuracies(source, size, None)
        long, long_seconds, _ = accuracies(source, size, arguments.long * epochs)
        rows[name] = {
            "accuracy": short, "epochs": epochs, "seconds": short_seconds,
            "accuracy_long": long, "seconds_long": long_seconds,
            "gap": statistics.mean(long) - statistics.mean(short),
        }  # fmt: skip
        print(
            f"{name:30s} {statistics.mean(short):6.2f} % in {epochs} epochs, {short_seconds:5.1f} s; "
            f"{statistics.mean(long):6.2f} % in {arguments.long * epochs}: {rows[name]['gap']:+.2f}",
            flush=True,
        )
    if arguments.val or arguments.only:
        return
    result = {
        "what": "test accuracy (%), recipe against the same with more epochs", "model": arguments.model,
        "recipe": arguments.recipe, "times": arguments.long, "seeds": list(range(arguments.seeds)),
        "rows": rows,
    }  # fmt: skip
    logs.write("unseen", result, arguments.out)


if __name__ == "__main__":
    main()
