"""A folder of photographs, three ways: from scratch, on features of a run, on features of ImageNet.

    python bench/photos.py PHOTOS [--seeds 3] [--run RUN] [--from efficientnet_lite0]

Each line is a whole process of `convlens train`, start-up and report included; the cache of features and of decoded
pictures is empty before the first and kept for those after it. Prints a line of JSON each, and the means at the end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CONVLENS = (sys.executable, "-c", "from convlens.cli import run; run()")


def once(way: str, words: list[str], seed: int, folder: Path, photos: str) -> dict[str, Any]:
    """One process. Its figures, and how long it took from outside."""
    command = [*CONVLENS, "train", *words, "--data", photos, "--seed", str(seed), "--json", "--quiet"]
    command += ["--out", str(folder / f"{way}-{seed}")]
    began = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "CONVLENS_CACHE": str(folder / "cache")}, text=True, capture_output=True
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    test = json.loads(done.stdout.splitlines()[-1])["test"]
    found = {"way": way, "seed": seed, "accuracy": test["accuracy"], "macro_f1": test["macro_f1"]}
    return found | {"seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--run", help="a run whose features are tried, such as one on CIFAR-10")
    parser.add_argument("--from", dest="backbone", default="efficientnet_lite0")
    asked = parser.parse_args()
    ways = {"imagenet": ["--from", asked.backbone], "scratch": ["sprint", "--recipe", "fast", "--size", "64"]}
    if asked.run:
        ways["run"] = ["--from", asked.run]
    with tempfile.TemporaryDirectory(prefix="photos-") as name:
        for way, words in ways.items():
            found = []
            for seed in range(asked.seeds):
                found.append(once(way, words, seed, Path(name), asked.photos))
                print(json.dumps(found[-1]), flush=True)
            means = {key: round(statistics.fmean(one[key] for one in found), 4) for key in ("accuracy", "macro_f1")}
            later = [one["seconds"] for one in found[1:]]
            print(json.dumps({"way": way, "mean": means, "first": found[0]["seconds"], "later": later}), flush=True)


if __name__ == "__main__":
    main()
