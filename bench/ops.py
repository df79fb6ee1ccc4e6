"""NumPy operations against PyTorch: time(ours) / time(PyTorch), forward + backward, float32, batch 64.

Ours is the fast form (`with ops.fast()`). Beside it stands the plain form, which is made to be read, x its time.

    python bench/ops.py [--repetitions N] [--only NAME] [--one-thread] [--out FILE]

Both sides compute the output and the gradients of input, weight and bias. They take turns, so that a busy machine slows
both; PyTorch runs in both memory formats and the better median counts; ours gets plain (N, C, H, W) arrays. Threads
and kernels are each library's own choice, and the C library keeps freed memory for both, as in training. After its work
PyTorch's threads keep their cores busy for some milliseconds, waiting for more; so each timed run comes after a pause,
in which they fall asleep, and untimed runs of the same side: as in training, where one step follows the other. (After
a pause Linux may run two threads on one core for some 20 ms before it moves one away.) Peak memory is what the
resident set grew by at most during one forward + backward (Linux only). Writes the log `ops`.

A machine busy with other work slows PyTorch's threads, which wait for each other at every step, more than ours. There,
`--one-thread` compares processor time instead: one thread on each side, waiting not counted; written to the
log `ops_one_thread`.
"""

import kernels  # before NumPy

# isort: split
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits

import logs
from convlens import ops
from convlens.base.memory import keep_freed_memory

BATCH = 64
GOAL_MEAN, GOAL_EACH = 1.8, 4.0
GOAL_PLAIN = 4.0  # x the fast form, on one thread
PAUSE = 0.02  # seconds
WARM_UP = 0.06  # seconds

# name: (shape of one image, shape of the weight, options)
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, int]]] = {
    "LeNet conv1": ((1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
    "LeNet conv2": ((6, 14, 14), (16, 6, 5, 5), {}),
    "VGG": ((64, 32, 32), (64, 64, 3, 3), {"padding": 1}),
    "ResNet": ((256, 8, 8), (256, 256, 3, 3), {"padding": 1}),
    "strided": ((64, 32, 32), (128, 64, 3, 3), {"stride": 2, "padding": 1}),
    "1x1": ((64, 16, 16), (256, 64, 1, 1), {}),
    "depthwise": ((128, 16, 16), (128, 1, 3, 3), {"padding": 1, "groups": 128}),
    "transposed": ((64, 8, 8), (64, 32, 4, 4), {"stride": 2, "padding": 1}),
}


def sides(name: str) -> dict[str, Callable[[], list[np.ndarray]]]:
    """One forward + backward of each side on the same numbers; each returns output and gradients."""
    image, weight, options = CASES[name]
    transposed = name == "transposed"
    forward, backward = (
        (ops.conv_transpose2d, ops.conv_transpose2d_backward) if transposed else (ops.conv2d, ops.conv2d_backward)
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, *image), dtype=np.float32)
    w = rng.standard_normal(weight, dtype=np.float32)
    b = rng.standard_normal(weight[1] if transposed else weight[0], dtype=np.float32)
    function: Any = F.conv_transpose2d if transposed else F.conv2d
    shape = function(torch.empty(x.shape, device="meta"), torch.empty(w.shape, device="meta"), **options).shape
    grad = rng.standard_normal(shape, dtype=np.float32)

    def plain() -> list[np.ndarray]:
        return [forward(x, w, b, **options), *backward(grad, x, w, **options)]

    def ours() -> list[np.ndarray]:
        with ops.fast():
            return plain()

    def pytorch(memory_format: torch.memory_format) -> Callable[[], list[Any]]:
        tx, tw = (torch.from_numpy(a).to(memory_format=memory_format).requires_grad_() for a in (x, w))
        tb = torch.from_numpy(b).clone().requires_grad_()
        tgrad = torch.from_numpy(grad).to(memory_format=memory_format)

        def run() -> list[Any]:
            y = function(tx, tw, tb, **options)
            return [y.detach(), *torch.autograd.grad(y, (tx, tw, tb), tgrad)]

        return run

    return {
        "plain": plain,
        "ours": ours,
        "pytorch contiguous": pytorch(torch.contiguous_format),
        "pytorch channels_last": pytorch(torch.channels_last),
    }


def resident(field: str) -> float | None:
    """VmRSS or VmHWM of this process in MiB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":")), None)


def peak_memory(name: str, side: str) -> float | None:
    """By how many MiB the resident set grows at most during one run, in a process of its own."""
    command = [sys.executable, __file__, "--peak", name, side]
    # Freed memory goes back at once (glibc), so that none of it hides in what was resident before.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return json.loads(answer.splitlines()[-1])


def print_peak(name: str, side: str) -> None:
    """What `peak_memory` starts: libraries, threads and kernels are warmed up on another shape first."""
    sides("LeNet conv2")[side]()
    run = sides(name)[side]
    before = resident("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is resident now
    except OSError:
        print("null")
        return
    results = run()
    after = resident("VmHWM")
    print(json.dumps(None if before is None or after is None or not results else after - before))


def measure(name: str, repetitions: int, clock: Callable[[], float]) -> dict[str, Any]:
    runs = sides(name)
    expected = [a.numpy() for a in runs["pytorch contiguous"]()]
    difference = max(
        float(np.abs(a - e).max() / np.abs(e).max())
        for side in ("ours", "plain")
        for a, e in zip(runs[side](), expected, strict=True)
    )
    if difference > 1e-4:
        raise SystemExit(f"{name}: results differ by {difference:.2g}")
    peaks = {side: peak_memory(name, side) for side in runs}
    seconds: dict[str, list[float]] = {side: [] for side in runs}
    for repetition in range(repetitions + 3):
        for side, run in runs.items():
            time.sleep(PAUSE)
            warm = time.perf_counter()
            while time.perf_counter() < warm + WARM_UP:
                run()
            start = clock()
            run()
            if repetition >= 3:
                seconds[side].append(clock() - start)
    result: dict[str, Any] = {
        side: {
            "median_ms": 1e3 * statistics.median(times),
            "mean_ms": 1e3 * statistics.mean(times),
            "std_ms": 1e3 * statistics.stdev(times),
            "n": len(times),
            "peak_mib": peaks[side],
        }
        for side, times in seconds.items()
    }
    best = min((side for side in runs if side.startswith("pytorch")), key=lambda side: result[side]["median_ms"])
    ratio = result["ours"]["median_ms"] / result[best]["median_ms"]
    plain = result["plain"]["median_ms"] / result["ours"]["median_ms"]
    return {**result, "better_format": best, "ratio": ratio, "plain_ratio": plain, "relative_difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--one-thread", action="store_true", help="processor time of one thread on each side")
    parser.add_argument("--peak", nargs=2, metavar=("NAME", "SIDE"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="in place of the log's own")
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(*arguments.peak)
        return

    keep_freed_memory()
    clock = time.perf_counter
    if arguments.one_thread:
        clock = time.process_time
        torch.set_num_threads(1)
        threadpool_limits(1, user_api="blas")

    results = {}
    heads = f"{'plain ms':>9} {'fast ms':>9} {'std':>6} {'PyTorch ms':>11} {'std':>6}"
    print(f"{'':12} {heads} {'plain/fast':>10} {'fast/PyTorch':>12}   peak MiB fast / PyTorch")
    for name in arguments.only or CASES:
        result = results[name] = measure(name, arguments.repetitions, clock)
        mine, theirs = result["ours"], result[result["better_format"]]
        peaks = " / ".join("?" if side["peak_mib"] is None else f"{side['peak_mib']:.1f}" for side in (mine, theirs))
        print(
            f"{name:12} {result['plain']['median_ms']:9.2f} {mine['median_ms']:9.2f} {mine['std_ms']:6.2f} "
            f"{theirs['median_ms']:11.2f} {theirs['std_ms']:6.2f} {result['plain_ratio']:10.2f} {result['ratio']:12.2f}"
            f"   {peaks}"
        )
    mean = statistics.geometric_mean(result["ratio"] for result in results.values())
    worst = max(result["ratio"] for result in results.values())
    plain = max(result["plain_ratio"] for result in results.values())
    print(f"geometric mean {mean:.2f} (goal {GOAL_MEAN}), worst {worst:.2f} (goal {GOAL_EACH})")
    print(f"plain at most {plain:.2f} x fast (goal {GOAL_PLAIN}, on one thread)")
    if arguments.only:
        return
    report = {
        "what": "time(ours) / time(PyTorch), forward + backward, float32, medians of interleaved repetitions",
        "clock": "processor time, one thread" if arguments.one_thread else "wall clock, default threads",
        "pytorch_threads": torch.get_num_threads(),
        "blas": kernels.blas(),
        "batch": BATCH,
        "geometric_mean": mean,
        "worst": worst,
        "plain_worst": plain,
        "goal": {"geometric_mean": GOAL_MEAN, "worst": GOAL_EACH, "plain_worst": GOAL_PLAIN},
        "cases": results,
    }
    logs.write("ops_one_thread" if arguments.one_thread else "ops", report, arguments.out)


if __name__ == "__main__":
    main()
