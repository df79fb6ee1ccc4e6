"""Networks on NumPy alone: a training step of LeNet against PyTorch, and two experiments on MNIST.

    python bench/scratch.py [--repetitions N] [--one-thread] [--steps-only] [--out FILE]

The step: LeNet (61,706 parameters), batch 128, float32: forward, cross-entropy, backward and momentum SGD. Both sides
start from the same weights and take turns, so that a busy machine slows both; PyTorch runs in both memory formats and
the better median counts. Each timed step comes after a pause, in which the threads of the other side stop waiting for
work, and untimed steps; the C library keeps freed memory for both, as `fit` asks it to. `--one-thread` compares
processor time with one thread on each side, for busy machines.

The experiments (MNIST is looked for in $CONVLENS_DATA and downloaded otherwise):
  text    one 5x5 convolution with 32 channels, tanh, dropout 0.2, linear; one epoch, batch 60, momentum SGD
  lenet5  three epochs, batch 64, momentum SGD with a cosine schedule
Writes the log `scratch` (or `scratch_one_thread`).
"""

import kernels  # before NumPy

# isort: split
import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

import logs
from convlens import data, scratch
from convlens.base.memory import keep_freed_memory
from convlens.base.schedules import cosine
from convlens.scratch.from_torch import from_torch
from convlens.scratch.loop import train_step

BATCH = 128
GOAL_STEP, GOAL_TEXT_SECONDS = 2.0, 15.0
PAUSE = 0.02  # seconds
WARM_UP = 6  # untimed steps before each timed one


def lenet() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def steps() -> dict[str, Callable[[], float]]:
    """One training step of each side on the same batch; each returns its loss."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((BATCH, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, BATCH)

    graph, optimizer = from_torch(lenet().train(), x.shape[1:]), scratch.SGD(0.01, momentum=0.9)

    def ours() -> float:
        return train_step(graph, x, y, optimizer)[0]

    def pytorch(memory_format: torch.memory_format) -> Callable[[], float]:
        module = lenet().to(memory_format=memory_format)
        sgd = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
        tx, ty = torch.from_numpy(x).to(memory_format=memory_format), torch.from_numpy(y)

        def run() -> float:
            sgd.zero_grad()
            loss = nn.functional.cross_entropy(module(tx), ty)
            loss.backward()
            sgd.step()
            return loss.item()

        return run

    return {
        "ours": ours,
        "pytorch contiguous": pytorch(torch.contiguous_format),
        "pytorch channels_last": pytorch(torch.channels_last),
    }


def measure_step(repetitions: int, clock: Callable[[], float]) -> dict[str, Any]:
    runs = steps()
    seconds: dict[str, list[float]] = {side: [] for side in runs}
    for repetition in range(repetitions + 5):
        losses = {}
        for side, run in runs.items():
            time.sleep(PAUSE)
            for _ in range(WARM_UP):
                run()
            start = clock()
            losses[side] = run()
            if repetition >= 5:
                seconds[side].append(clock() - start)
        if max(losses.values()) - min(losses.values()) > 1e-3:
            raise SystemExit(f"the sides have parted: {losses}")
    result: dict[str, Any] = {
        side: {
            "median_ms": 1e3 * statistics.median(times),
            "mean_ms": 1e3 * statistics.mean(times),
            "std_ms": 1e3 * statistics.stdev(times),
            "n": len(times),
        }
        for side, times in seconds.items()
    }
    best = min((side for side in runs if side != "ours"), key=lambda side: result[side]["median_ms"])
    ratio = result["ours"]["median_ms"] / result[best]["median_ms"]
    return {**result, "batch": BATCH, "better_format": best, "ratio": ratio, "goal": GOAL_STEP}


def text_network() -> scratch.Graph:
    """The text's experiment: one layer of 32 kernels."""
    x = scratch.image(1, 28, 28).conv2d(32, 5, padding="same", weights="glorot_uniform").tanh().dropout(0.2)
    return scratch.network(x.flatten().linear(10, weights="glorot_uniform"), seed=0)


def measure_training(clock: Callable[[], float]) -> dict[str, Any]:
    preprocess = data.Preprocess(size=(28, 28), channels=1)
    parts = data.find("mnist").read(preprocess).parts
    train, test = parts["train"], parts["test"]
    normalize = preprocess.fitted(train.pixels).normalize
    settings = {
        "text": (text_network(), {"epochs": 1, "batch_size": 60, "optimizer": scratch.SGD(0.01, momentum=0.9)}),
        "lenet5": (
            from_torch(lenet().train(), (1, 28, 28)),
            {"epochs": 3, "batch_size": 64, "optimizer": scratch.SGD(0.05, momentum=0.9), "schedule": cosine},
        ),
    }
    found = {}
    for name, (graph, options) in settings.items():
        start = clock()
        scratch.fit(graph, train.pixels, train.labels, prepare=normalize, **options)
        seconds = clock() - start
        loss, accuracy = scratch.evaluate(graph, test.pixels, test.labels, prepare=normalize)
        found[name] = {"epochs": options["epochs"], "seconds": seconds, "test_accuracy": accuracy, "test_loss": loss}
        print(f"{name:8} {options['epochs']} epochs in {seconds:.1f} s, test accuracy {100 * accuracy:.2f} %")
    found["text"]["goal_seconds"] = GOAL_TEXT_SECONDS
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--one-thread", action="store_true", help="processor time of one thread on each side")
    parser.add_argument("--steps-only", action="store_true", help="leave the experiments on MNIST out")
    parser.add_argument("--out", type=Path, help="in place of the log's own")
    arguments = parser.parse_args()

    clock = time.perf_counter
    if arguments.one_thread:
        clock = time.process_time
        torch.set_num_threads(1)
        threadpool_limits(1, user_api="blas")
    keep_freed_memory()
    step = measure_step(arguments.repetitions, clock)
    mine, theirs = step["ours"], step[step["better_format"]]
    print(
        f"LeNet step, batch {BATCH}: ours {mine['median_ms']:.2f} ms (std {mine['std_ms']:.2f}), "
        f"PyTorch {theirs['median_ms']:.2f} ms (std {theirs['std_ms']:.2f}), ratio {step['ratio']:.2f}"
    )
    report = {
        "what": "a training step of LeNet on NumPy against PyTorch, and experiments on MNIST on NumPy alone",
        "clock": "processor time, one thread" if arguments.one_thread else "wall clock, default threads",
        "pytorch_threads": torch.get_num_threads(),
        "blas": kernels.blas(),
        "step": step,
        "training": {} if arguments.steps_only else measure_training(clock),
    }
    logs.write("scratch_one_thread" if arguments.one_thread else "scratch", report, arguments.out)


if __name__ == "__main__":
    main()
