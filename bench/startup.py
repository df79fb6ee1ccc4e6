"""What starting costs: `convlens --help` beside an empty Typer application, and a whole default run beside PyTorch.

    python bench/startup.py [--repetitions 15]

Each pair is measured in turn in one run, whole processes, wall clock. Writes the log `startup`.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import logs

EMPTY = """
import typer
app = typer.Typer(add_completion=False)
@app.command()
def one(): "Do one thing."
@app.command()
def two(): "Do another."
app()
"""


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return time.perf_counter() - began


def compare(ours: list[str], other: list[str], repetitions: int) -> dict[str, float]:
    pairs = [(seconds(ours), seconds(other)) for _ in range(repetitions)][1:]  # the first warms the disk
    ratios = [a / b for a, b in pairs]
    return {
        "ours_seconds": statistics.median(a for a, _ in pairs),
        "other_seconds": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "ratio_std": statistics.stdev(ratios),
        "n": len(pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, help="in place of the log's own")
    arguments = parser.parse_args()
    convlens = str(Path(sys.executable).with_name("convlens"))
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        run = [convlens, "train", "--quiet", "--seed", "0"]
        rows = {
            "convlens --help / an empty Typer application --help": compare(
                [convlens, "--help"], [sys.executable, str(empty), "--help"], arguments.repetitions
            ),
        }
        counter = iter(range(1000))
        pairs = []
        for _ in range(max(3, arguments.repetitions // 3)):
            ours = seconds([*run, "--out", f"{folder}/run{next(counter)}"])
            pairs.append((ours, seconds([sys.executable, "-c", "import torch"])))
        ratios = [a / b for a, b in pairs]
        rows["default network on digits, start to end / import torch"] = {
            "ours_seconds": statistics.median(a for a, _ in pairs),
            "other_seconds": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(ratios),
            "ratio_std": statistics.stdev(ratios),
            "n": len(pairs),
        }
    logs.write("startup", {"rows": rows}, arguments.out)
    for name, row in rows.items():
        print(f"{row['ratio']:.2f} ± {row['ratio_std']:.2f}  {name}  ({row['ours_seconds']:.2f} s, n={row['n']})")


if __name__ == "__main__":
    main()
