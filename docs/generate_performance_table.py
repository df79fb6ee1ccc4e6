"""Writes the table of docs/performance.md from bench/results: `python docs/generate_performance_table.py`.

A test keeps the page up to date.
"""

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("performance.md")
RESULTS = Path(__file__).parent.parent / "bench" / "results"
BEGIN, END = "<!-- table: written by generate_performance_table.py -->\n", "<!-- end of table -->\n"
MACHINES = {"avx512-bf16": "AVX-512, bfloat16", "avx2": "AVX2, float32"}
UNMEASURED = [
    ("ResNet-18 training on a GPU, to the plain loop", ">= 5"),
    ("LeNet-5 on a GPU, MNIST to 99.0 %, training alone", "<= 0.5 s"),
]

Log = dict[str, Any]
Made = tuple[str, str, str]
"""What, measured, goal."""
Row = tuple[str, str, str, str]
"""And which log."""


def page() -> str:
    """The text of docs/performance.md with the table as the logs have it now."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def table() -> str:
    """A row for each thing measured anywhere, a column for each kind of processor."""
    measured: dict[tuple[str, str, str], dict[str, str]] = {}
    for kind in MACHINES:
        for what, figures, goal, log in _rows(RESULTS / kind):
            measured.setdefault((what, goal, log), {})[kind] = figures
    for what, goal in UNMEASURED:
        measured[what, goal, ""] = {}
    lines = [("what", *MACHINES.values(), "goal", "log"), ("---",) * (3 + len(MACHINES))]
    for (what, goal, log), found in measured.items():
        lines.append((what, *(found.get(kind, "not measured") for kind in MACHINES), goal, log))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rows(folder: Path) -> list[Row]:
    logs = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")}
    makers = {
        "mnist": _mnist, "unseen": _unseen, "training": _training, "augment": _augment, "streaming": _streaming,
        "ops": _ops, "ops_one_thread": _ops_one_thread, "scratch": _scratch, "startup": _startup,
    }  # fmt: skip
    return [(*row, name) for name, make in makers.items() if name in logs for row in make(logs[name])]


def _mnist(log: Log) -> list[Made]:
    found = []
    plain = f"{log['plain']['seconds_to_99']:.0f} s of the plain loop"
    if log["plain"]["note"].startswith("mean of 99.0 % not reached"):
        plain += " (which did not get there)"
    for name, row in log["rows"].items():
        base = "`import torch`" if name.startswith("default") else plain
        accuracy, seconds = row["test_accuracy"], row["seconds"]
        measured = (
            f"**{row['ratio']:.2f}** x {base}: {accuracy['mean']:.2f} ± {accuracy['std']:.2f} % "
            f"in {seconds['mean']:.1f} ± {seconds['std']:.1f} s ({seconds['n']} seeds)"
        )
        found.append((f"{name}: `{row['command']}`", measured, f"<= {row['goal']}"))
    return found


def _unseen(log: Log) -> list[Made]:
    return [
        (
            f"{name}, `{log['model']}`, `--recipe {log['recipe']}`",
            f"{_mean(row['accuracy']):.2f} % in {row['seconds']:.0f} s; {log['times']} x the epochs: "
            f"{_mean(row['accuracy_long']):.2f} %, **{row['gap']:+.2f}** points",
            "<= +1",
        )
        for name, row in log.get("rows", {}).items()
    ]


def _training(log: Log) -> list[Made]:
    found = []
    for name, row in log["rows"].items():
        for side, words in (("plain", "the plain loop"), ("bare", "the bare loop"), ("keras", "Keras `fit`")):
            if f"ratio_to_{side}" not in row:
                continue
            goal = f">= {row['goals'][side]}" if side in row["goals"] else ""
            measured = f"**{row[f'ratio_to_{side}']:.2f}**: {row['ours_images_per_second']:,.0f} images/s"
            found.append((f"training, {name}, x {words}", measured, goal))
        peaks = [row[f"{side}_peak_mib"] for side in ("ours", "plain")]
        if all(peaks):
            measured = f"**{peaks[0] / peaks[1]:.2f}**: {peaks[0]:,.0f} MiB"
            found.append((f"peak memory, {name}, x the plain loop", measured, "<= 1"))
    return found


def _augment(log: Log) -> list[Made]:
    found = []
    for name, row in log.get("cases", {}).items():
        if "ratio" in row:
            measured = (
                f"**{row['ratio']:.1f}** x Pillow; **{row['share_of_training']:.1%}** of training {row['network']}"
            )
            goal = f">= {log['goal']['ratio']:g}; <= {log['goal']['share_of_training']:.0%}"
            goal = goal if name.startswith("CIFAR") else ""
            found.append((f"augmentation, {name}", measured, goal))
    return found


def _streaming(log: Log) -> list[Made]:
    measured = f"**{log['ratio']:.2f}**: {log['sides']['ours']['images_per_second']:,.0f} images/s"
    return [("photographs decoded as they are needed, x `DataLoader` with its best number of workers", measured, "")]


def _ops(log: Log) -> list[Made]:
    each = ", ".join(f"{name} {case['ratio']:.1f}" for name, case in log["cases"].items())
    measured = f"**{log['geometric_mean']:.2f}**, at most {log['worst']:.1f}: {each}"
    goals = f"<= {log['goal']['geometric_mean']}, none above {log['goal']['worst']:g}"
    return [("NumPy convolutions, forward and backward, x PyTorch's time (geometric mean)", measured, goals)]


def _ops_one_thread(log: Log) -> list[Made]:
    each = ", ".join(f"{name} {case['plain_ratio']:.1f}" for name, case in log["cases"].items())
    measured = f"at most **{log['plain_worst']:.1f}**: {each}"
    goal = f"none above {log['goal']['plain_worst']:g}"
    return [("plain NumPy convolutions, one thread, x the fast forms' time", measured, goal)]


def _scratch(log: Log) -> list[Made]:
    step, text, lenet = log["step"], log["training"]["text"], log["training"]["lenet5"]
    return [
        (
            "a LeNet training step in NumPy, batch 128, x PyTorch's time",
            f"**{step['ratio']:.2f}**: {step['ours']['median_ms']:.1f} ms",
            f"<= {step['goal']:g}",
        ),
        (
            "32 kernels of 5x5 in NumPy, one epoch of MNIST",
            f"{100 * text['test_accuracy']:.2f} % in **{text['seconds']:.1f}** s",
            f">= 90.5 %; < {text['goal_seconds']:g} s",
        ),
        (
            "LeNet-5 in NumPy, three epochs of MNIST",
            f"**{100 * lenet['test_accuracy']:.2f}** % in {lenet['seconds']:.0f} s",
            ">= 98.5 %",
        ),
    ]


def _startup(log: Log) -> list[Made]:
    rows = log["rows"].items()
    return [(name, f"**{row['ratio']:.2f}**", "<= 1.5") for name, row in rows if "help" in name]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
