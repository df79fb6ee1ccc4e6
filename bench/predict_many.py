"""Answers into a file against answers from memory: what reading, decoding and writing cost.

    python bench/predict_many.py RUN FOLDER [--rounds 3]

In turn: `predict_into` a CSV, pictures decoded from the folder; and the same pictures, decoded before, answered from
memory. Prints images per second of both, their ratio, and by how much memory grew from the first quarter to the end.
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

import convlens as cl
from convlens.base.memory import most_memory
from convlens.deploy.inputs import pictures
from convlens.deploy.many import predict_into


def peak() -> int:
    """The most memory that this process has had, in MiB."""
    return (most_memory() or 0) >> 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    classifier = cl.load(asked.run).classifier()
    prepare = classifier.preprocess.prepare
    items = pictures(asked.folder, classifier.preprocess.channels, print)[1]
    quarter = [item.picture for item in islice(items, 15_000)]
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        predict_into(classifier, quarter, Path(name) / "quarter.csv")
        before = peak()
        count = predict_into(classifier, asked.folder, Path(name) / "all.csv").count
        grown = peak() - before
        pixels = np.stack([prepare(item.picture) for item in pictures(asked.folder, 3, print)[1]])
        for k in range(asked.rounds):
            began = time.perf_counter()
            predict_into(classifier, asked.folder, Path(name) / f"{k}.csv")
            from_files = count / (time.perf_counter() - began)
            began = time.perf_counter()
            for start in range(0, count, 256):
                classifier.ranked(pixels[start : start + 256])
            from_memory = count / (time.perf_counter() - began)
            ratios.append(from_files / from_memory)
            print(json.dumps({"from_files": round(from_files), "from_memory": round(from_memory)}), flush=True)
    print(json.dumps({"images": count, "ratio": round(statistics.median(ratios), 3), "grown_mib": grown}))


if __name__ == "__main__":
    main()
