"""What several processes bring: images/s of two against one, and what the same bits cost against `--fast`.

    python bench/processes.py [--model resnet18_cifar] [--size 32] [--rounds 3]

One thread a process. Each way trains the same network on the same images for two epochs, of which the second is timed;
the ways take turns, so that what else the machine does falls on all. Ratios are medians over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import logs

WAYS: dict[str, list[str]] = {
    "one process": [],
    "one process, 4 shards": ["--processes", "1"],
    "2 processes, 4 shards": ["--processes", "2"],
    "2 processes, 2 shards": ["--processes", "2", "--set", "shards=2"],
    "2 processes, fast": ["--processes", "2", "--fast"],
}


def timed(way: list[str], common: list[str]) -> dict[str, float]:
    """images/s of the second epoch, and the share of it that process 0 waited."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "convlens", "train", *common, *way, "--out", str(out), "--threads", "1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
        record = json.loads((out / "run.json").read_text())
        return {"images_per_second": last["images_per_second"], "waiting": record["processes"][0]["waiting"] or 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18_cifar")
    parser.add_argument("--size", default="32")
    parser.add_argument("--batch", default="128")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    common = [
        given.model, "--data", "digits", "--size", given.size, "--batch-size", given.batch, "--epochs", "2",
        "--quiet", "--no-tensorboard", "--set", "val_fraction=0.4", "--set", "test_fraction=0.1",
    ]  # fmt: skip
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(given.rounds):
        for name, way in WAYS.items():
            found[name].append(timed(way, common))
            print(f"{name:24s} {found[name][-1]['images_per_second']:8.1f} images/s", flush=True)
    report: dict[str, Any] = {"model": given.model, "size": given.size, "batch": given.batch, "ways": found}
    report["ratios"] = {
        "2 processes, 4 shards, against one process": ratio(found, "2 processes, 4 shards", "one process"),
        "2 processes, fast, against one process": ratio(found, "2 processes, fast", "one process"),
        "4 shards against fast, 2 processes": ratio(found, "2 processes, 4 shards", "2 processes, fast"),
        "2 shards against fast, 2 processes": ratio(found, "2 processes, 2 shards", "2 processes, fast"),
        "4 shards against none, one process": ratio(found, "one process, 4 shards", "one process"),
    }
    for name, value in report["ratios"].items():
        print(f"{value:.2f}  {name}")
    logs.write("processes", report, given.out)


def ratio(found: dict[str, list[dict[str, float]]], way: str, other: str) -> float:
    """The median over the rounds of the quotient of images/s."""
    pairs = zip(found[way], found[other], strict=True)
    return round(statistics.median(a["images_per_second"] / b["images_per_second"] for a, b in pairs), 3)


if __name__ == "__main__":
    main()
