"""Writes the table of docs/performance.md from bench/results: `python docs/generate_performance_table.py`.

A test keeps the page up to date.
"""

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("performance.md")
RESULTS = Path(__file__).parent.parent / "bench" / "results"
BEGIN, END = "<!-- table: written by generate_performance_table.py -->\n", "<!-- end of table -->\n"
HEAD = "| what | measured | goal | runs | log |\n|---|---|---|---|---|\n"
UNMEASURED = [
    ("ResNet-18 training on a GPU, to the plain loop", ">= 5"),
    ("LeNet-5 on a GPU, MNIST to 99.0 %, training alone", "<= 0.5 s"),
]


def page() -> str:
    """The text of docs/performance.md with the table as the logs have it now."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def table() -> str:
    rows = [*_mnist(), *_unseen(), *_training(), *_augment(), *_numpy(), *_startup()]
    rows += [(what, "not measured", goal, "", "") for what, goal in UNMEASURED]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _log(name: str) -> dict[str, Any]:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


Row = tuple[str, str, str, str, str]


def _mnist() -> list[Row]:
    log = _log("mnist")
    found = []
    plain = log.get("plain", {})
    slow = f"{plain['seconds_to_99']:.0f} s of the plain loop ({plain['note']})" if plain else ""
    for name, row in log.get("rows", {}).items():
        base = "`import torch`" if name.startswith("default") else slow
        accuracy, seconds = row["test_accuracy"], row["seconds"]
        measured = (
            f"**{row['ratio']:.2f}** x {base}: {accuracy['mean']:.2f} ± {accuracy['std']:.2f} % "
            f"in {seconds['mean']:.1f} ± {seconds['std']:.1f} s"
        )
        found.append((f"{name}: `{row['command']}`", measured, f"<= {row['goal']}", f"{seconds['n']} seeds", "mnist"))
    return found


def _unseen() -> list[Row]:
    log = _log("unseen")
    return [
        (
            f"{name}, `{log['model']}`, `--recipe {log['recipe']}`",
            f"{_mean(row['accuracy']):.2f} % in {row['seconds']:.0f} s; {log['times']} x the epochs: "
            f"{_mean(row['accuracy_long']):.2f} %, **{row['gap']:+.2f}** points",
            "<= +1",
            f"{len(log['seeds'])} seeds",
            "unseen",
        )
        for name, row in log.get("rows", {}).items()
    ]


def _training() -> list[Row]:
    found = []
    for name, row in _log("training").get("rows", {}).items():
        for side, words in (("plain", "the plain loop"), ("bare", "the bare loop"), ("keras", "Keras `fit`")):
            if f"ratio_to_{side}" not in row:
                continue
            goal = f">= {row['goals'][side]}" if side in row["goals"] else ""
            measured = f"**{row[f'ratio_to_{side}']:.2f}** x {words}: {row['ours_images_per_second']:,.0f} images/s"
            found.append((f"training, {name}", measured, goal, f"{row['n']} rounds", "training"))
        peaks = [row[f"{side}_peak_mib"] for side in ("ours", "plain")]
        if all(peaks):
            measured = f"**{peaks[0] / peaks[1]:.2f}** x the plain loop: {peaks[0]:,.0f} MiB"
            found.append((f"peak memory, {name}", measured, "<= 1", "1", "training"))
    return found


def _augment() -> list[Row]:
    log = _log("augment")
    found = []
    for name, row in log.get("cases", {}).items():
        if "ratio" in row:
            measured = (
                f"**{row['ratio']:.1f}** x Pillow; **{row['share_of_training']:.1%}** of training {row['network']}"
            )
            goal = f">= {log['goal']['ratio']:g}; <= {log['goal']['share_of_training']:.0%}"
            goal = goal if name.startswith("CIFAR") else ""
            found.append((f"augmentation, {name}", measured, goal, f"{row['ours']['n']} rounds", "augment"))
    return found


def _numpy() -> list[Row]:
    log = _log("ops")
    found = []
    if log:
        each = ", ".join(f"{name} {case['ratio']:.1f}" for name, case in log["cases"].items())
        measured = (
            f"**{log['geometric_mean']:.2f}** x PyTorch's time (geometric mean), at most {log['worst']:.1f}: {each}"
        )
        goals = f"<= {log['goal']['geometric_mean']}, none above {log['goal']['worst']:g}"
        found.append(("NumPy convolutions, forward and backward", measured, goals, "30 rounds", "ops"))
    log = _log("scratch")
    if log:
        step, text, lenet = log["step"], log["training"]["text"], log["training"]["lenet5"]
        measured = f"**{step['ratio']:.2f}** x PyTorch's time: {step['ours']['median_ms']:.1f} ms"
        found.append(("a LeNet training step in NumPy, batch 128", measured, f"<= {step['goal']:g}", "50", "scratch"))
        measured = f"{100 * text['test_accuracy']:.2f} % in **{text['seconds']:.1f}** s"
        goal = f">= 90.5 %; < {text['goal_seconds']:g} s"
        found.append(("32 kernels of 5x5 in NumPy, one epoch of MNIST", measured, goal, "1", "scratch"))
        measured = f"**{100 * lenet['test_accuracy']:.2f}** % in {lenet['seconds']:.0f} s"
        found.append(("LeNet-5 in NumPy, three epochs of MNIST", measured, ">= 98.5 %", "1", "scratch"))
    return found


def _startup() -> list[Row]:
    rows = _log("startup").get("rows", {})
    return [
        (name, f"**{row['ratio']:.2f}**", "<= 1.5", f"{row['n']} rounds", "startup")
        for name, row in rows.items()
        if "help" in name
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
