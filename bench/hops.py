"""How many calls of our own functions everyday work takes: the shorter the way, the easier it is to follow.

    python bench/hops.py [--out FILE]

Counted with `sys.setprofile` after one untimed run, so that caches are filled: calls of functions that stand in the
package, in this thread. Deterministic, so that no repetition is needed. Writes the log `hops`.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

import convlens as cl
import logs
from convlens import ops
from convlens.classify.saved import rebuild

GOALS = {
    "predict one image": 25,
    "rebuild a network": 100,
    "load a run": None,  # its files are checked as a stranger's, its weights read and compared
    "one training step": 50,
    "one plain conv2d": 12,
}
PACKAGE = os.path.dirname(cl.__file__) + os.sep


def calls(work: Callable[[], Any]) -> Counter[str]:
    """Our functions that ran, by file and name."""
    work()
    seen: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            seen[f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def step() -> Counter[str]:
    """Of one training step: what four epochs with twice as many steps take more, shared out among them."""
    x, y = np.zeros((256, 8, 8), np.uint8), np.arange(256) % 2

    def epochs(batch_size: int) -> Counter[str]:
        recipe = {"batch_size": batch_size, "val_fraction": 0.0, "checkpoint_seconds": 1e9}
        with tempfile.TemporaryDirectory() as folder:
            paths = iter(f"{folder}/{i}" for i in range(2))
            return calls(
                lambda: cl.train(
                    torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)),
                    {"train": (x, y), "test": (x[:8], y[:8])},
                    recipe=recipe, epochs=4, size=8, out=next(paths), quiet=True, tensorboard=False, device="cpu",
                )
            )  # fmt: skip

    few, many = epochs(32), epochs(16)
    return Counter({name: (n - few[name]) / 32 for name, n in many.items() if n > few[name]})  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", action="store_true", help="name the functions")
    arguments = parser.parse_args()
    image = np.zeros((28, 28), np.uint8)
    x, w = np.ones((1, 1, 28, 28), np.float32), np.ones((6, 1, 5, 5), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        run = cl.train("lenet5", "digits", epochs=1, out=f"{folder}/run", quiet=True, tensorboard=False)
        found = {
            "predict one image": calls(lambda: run.predict(image)),
            "rebuild a network": calls(lambda: rebuild(run.record)),
            "load a run": calls(lambda: cl.load(run.path).module),
            "one training step": step(),
            "one plain conv2d": calls(lambda: ops.conv2d(x, w, padding=2)),
        }
    report = {name: {"calls": round(sum(seen.values()), 1), "goal": GOALS[name]} for name, seen in found.items()}
    for name, seen in found.items():
        goal = "" if GOALS[name] is None else f", goal {GOALS[name]}"
        print(f"{name:20} {report[name]['calls']:6g} calls{goal}")
        if arguments.show:
            print("".join(f"    {n:6g}  {where}\n" for where, n in seen.most_common()), end="")
    logs.write("hops", {"hops": report}, arguments.out)


if __name__ == "__main__":
    main()
