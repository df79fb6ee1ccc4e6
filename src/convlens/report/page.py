"""Gathers what a run folder holds and fills the page's template with it."""

import base64
import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from convlens.base import files
from convlens.base.arrays import header
from convlens.base.errors import InputError
from convlens.base.progress import duration
from convlens.data.naming import natural
from convlens.data.preprocess import Preprocess
from convlens.inspection import pictures
from convlens.inspection.evaluation import Evaluation, wilson_interval
from convlens.report.charts import Series, line_chart
from convlens.report.store import FILE, StoredEvaluation, load_evaluation
from convlens.report.words import disagreement, majority, number, percent
from convlens.runs import RunFolder, RunRecord

_MATRIX = 30  # classes: larger confusion matrices are drawn as a picture
_ROWS = 30  # classes: longer tables are folded
_KERNELS = 96
_LOG_RANGE = 20  # a loss that falls by more than this is drawn on a logarithmic scale


def write(run_folder: Path | str) -> Path:
    """Writes `report.html` into a run folder, from what lies there, and returns its path.

    Of a run that is not finished it shows what there is. Raises `InputError` for a folder that is no run folder,
    or files in it that are not what they should be.
    """
    folder = RunFolder(run_folder)
    record = folder.read_record()
    preprocess = Preprocess.from_dict(record.preprocess)
    if folder.weights.exists():
        folder.compare_weights(record)
    stored = load_evaluation(folder.path) if (folder.path / FILE).exists() else None
    page = _template().render(
        record=record,
        headline=_headline(record, stored.evaluation if stored else None),
        baseline=majority(stored.evaluation) if stored else None,
        remark=disagreement(record),
        facts=_facts(record, preprocess),
        counts=", ".join(f"{n:,} {_PARTS.get(part, part)}" for part, n in record.data.counts.items() if n),
        started=record.created.replace("T", " ").replace("+00:00", " UTC"),
        command=command(record, preprocess),
        charts=_charts(folder.read_metrics(), number(record.results, "best_epoch")),
        confusion=_confusion(stored.evaluation) if stored else None,
        pairs=confused_pairs(stored.evaluation, 12) if stored else [],
        rows=_per_class(stored.evaluation) if stored else [],
        folded=_ROWS,
        mistakes=_mistakes(stored) if stored else [],
        kernels=_kernels(folder, preprocess),
        settings=[
            ("Recipe", flat(record.recipe)),
            ("Arithmetic", flat(record.numeric)),
            ("Preprocessing", flat(record.preprocess)),
            ("Network", flat({"arguments": record.model.arguments, "input (C, H, W)": record.model.input})),
            ("Versions", flat(record.versions)),
            ("Data", flat({"source": record.data.source, "fingerprint": record.data.fingerprint})),
        ],
    )
    files.write_text(folder.report, page)
    return folder.report


_PARTS = {"train": "images for training", "val": "for validation", "test": "for the test"}


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template("report.html.j2")


# ---- figures and words


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, value in words)."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _in_words(value)))
    return rows


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_in_words, value))
    return "none" if value is None else str(value)


def _headline(record: RunRecord, evaluation: Evaluation | None) -> dict[str, Any] | None:
    """The test accuracy with its interval; None while the run is not finished."""
    accuracy = number(record.results, "test", "accuracy")
    if accuracy is None:
        return None
    n = evaluation.n if evaluation else int(number(record.results, "test", "n") or record.data.counts.get("test", 0))
    correct = evaluation.correct if evaluation else round(accuracy * n)
    low, high = wilson_interval(min(correct, n), n)
    return {"accuracy": accuracy, "n": n, "correct": correct, "low": low, "high": high}


def _facts(record: RunRecord, preprocess: Preprocess) -> list[tuple[str, str]]:
    """The tiles under the headline: (what, figure). What is not known is left out."""
    results = record.results
    epochs, best = number(results, "epochs"), number(results, "best_epoch")
    candidates = [
        ("validation accuracy", number(results, "val", "accuracy"), percent),
        ("test loss", number(results, "test", "loss"), "{:.4f}".format),
        ("parameters", record.model.parameters, "{:,}".format),
        ("epochs", epochs, "{:g}".format),
        ("best epoch", best if best != epochs else None, "{:g}".format),
        ("training time", number(results, "seconds", "train"), duration),
        ("total time", number(results, "seconds", "total"), duration),
        ("images per second", number(results, "images_per_second"), "{:,.0f}".format),
        ("classes", len(record.classes), "{:,}".format),
        ("input", f"{preprocess.channels}×{preprocess.size[0]}×{preprocess.size[1]}", str),
    ]
    return [(what, form(value)) for what, value, form in candidates if value is not None]


def command(record: RunRecord, preprocess: Preprocess) -> str:
    """The command that trains the same again. Its recipe is named, with what was changed in it."""
    from convlens.training import recipe as recipes

    words = ["convlens", "train", record.model.name, "--data", record.data.source]
    if preprocess.size[0] == preprocess.size[1]:
        words += ["--size", str(preprocess.size[0])]
    words += ["--seed", str(record.seed)]
    known = {name: dict(_leaves(recipes.load(name).model_dump(mode="json"))) for name in recipes.shipped()}
    wanted = dict(_leaves(record.recipe))
    changes = {
        name: {key: value for key, value in wanted.items() if key not in values or values[key] != value}
        for name, values in known.items()
    }
    nearest = min(changes, key=lambda name: len(changes[name]))
    words += ["--recipe", nearest]
    for key, value in changes[nearest].items():
        words += ["--set", f"{key}={value if isinstance(value, str) else _toml(value)}"]
    return shlex.join(words)


def _leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        rows += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return rows


def _toml(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


# ---- pictures


def _charts(records: list[Any], best: float | None) -> list[dict[str, Any]]:
    records = [record for record in records if isinstance(record, dict)]
    epochs = [number(record, "epoch") or i + 1 for i, record in enumerate(records)]

    def series(name: str, kind: str, key: str) -> Series:
        values = [number(record, key) for record in records]
        return Series(name, kind, epochs, [math.nan if value is None else value for value in values])

    def chart(title: str, lines: list[Series], form: Any, better: Any = None) -> dict[str, Any]:
        finite = [value for line in lines for value in line.values if math.isfinite(value)]
        log = title == "Loss" and bool(finite) and min(finite) > 0 and max(finite) > _LOG_RANGE * min(finite)
        return {
            "title": title + (" (logarithmic)" if log else ""),
            "svg": line_chart(lines, title, form=form, log=log, mark=best, top=1.0 if title == "Accuracy" else None),
            "legend": [
                {"name": line.name, "kind": line.kind, "value": form((better or _last)(kept))}
                for line in lines
                if (kept := [value for value in line.values if math.isfinite(value)])
            ],
            "best": "lowest" if better is min else "highest" if better is max else "last",
        }

    charts = [
        chart("Loss", [series("training", "a", "train_loss"), series("validation", "b", "val_loss")], _loss, min),
        chart(
            "Accuracy",
            [series("training", "a", "train_accuracy"), series("validation", "b", "val_accuracy")],
            _accuracy,
            max,
        ),
        chart("Learning rate", [series("learning rate", "c", "lr")], "{:.3g}".format),
    ]
    return [chart for chart in charts if chart["svg"]]


def _last(values: list[float]) -> float:
    return values[-1]


def _loss(value: float) -> str:
    return f"{value:.4g}"


def _accuracy(value: float) -> str:
    return f"{100 * value:.4g} %"


def data_uri(pixels: np.ndarray) -> str:
    """A picture inside the page: uint8 [H, W, C]. Photographs as JPEG, small or transparent pictures as PNG."""
    if max(pixels.shape[:2]) > 64 and pixels.shape[2] == 3:
        kind, content = "jpeg", pictures.jpeg(pixels)
    else:
        kind, content = "png", pictures.png(pixels)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _confusion(evaluation: Evaluation) -> dict[str, Any]:
    """Up to 30 classes a table of cells, above that a picture of one pixel a cell."""
    counts = evaluation.confusion
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.sqrt(share)  # the eye should find a cell of 1 %
    if len(counts) > _MATRIX:
        colours = np.zeros((*counts.shape, 4), np.uint8)
        colours[..., :3] = (217, 83, 25)
        colours[np.arange(len(counts)), np.arange(len(counts)), :3] = (38, 108, 201)
        colours[..., 3] = np.rint(255 * shade)
        return {"picture": data_uri(colours), "classes": len(counts)}
    rows = [
        {
            "name": name,
            "cells": [
                {
                    "n": int(counts[i, j]),
                    "shade": round(float(shade[i, j]), 3),
                    "kind": ("hit" if i == j else "miss") + (" deep" if shade[i, j] > 0.6 else ""),
                    "title": f"{counts[i, j]} of {counts[i].sum()} images of {name} were taken for {other}",
                }
                for j, other in enumerate(evaluation.classes)
            ],
        }
        for i, name in enumerate(evaluation.classes)
    ]
    return {"rows": rows, "classes": len(counts), "long": max(map(len, evaluation.classes)) > 3}


def confused_pairs(evaluation: Evaluation, k: int) -> list[dict[str, Any]]:
    """The k pairs (true, predicted) that occurred most often, with their share of the true class."""
    wrong = evaluation.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:k]
    totals = evaluation.confusion.sum(axis=1)
    return [
        {
            "true": evaluation.classes[i],
            "predicted": evaluation.classes[j],
            "n": int(wrong[i, j]),
            "share": float(wrong[i, j] / totals[i]),
        }
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]


def _per_class(evaluation: Evaluation) -> list[dict[str, Any]]:
    """In the order of the classes; of many classes the worst first."""
    rows = evaluation.per_class
    if len(rows) > _ROWS:
        rows.sort(key=lambda row: -1.0 if math.isnan(row["f1"]) else row["f1"])
    return rows


def _mistakes(stored: StoredEvaluation) -> list[dict[str, Any]]:
    judged = stored.evaluation
    return [
        {
            "picture": data_uri(pixels),
            "true": judged.classes[judged.labels[i]],
            "predicted": judged.classes[judged.predicted[i]],
            "probability": float(judged.probabilities[i].max()),
            "true_probability": float(judged.probabilities[i, judged.labels[i]]),
            "small": max(pixels.shape[:2]) <= 64,
        }
        for i, pixels in zip(stored.index, stored.pixels, strict=True)
    ]


def _kernels(folder: RunFolder, preprocess: Preprocess) -> dict[str, Any] | None:
    """The filters that look at the image itself: of a convolution, else of a fully connected first layer."""
    if not folder.weights.exists():
        return None
    found = first_layer(folder.weights, preprocess)
    if found is None:
        return None
    name, weight = found
    sheet = pictures.kernels(weight)
    side = max(weight.shape[2:])
    return {
        "name": name,
        "shape": " × ".join(map(str, weight.shape)),
        "pictures": [data_uri(picture) for picture in sheet[:_KERNELS]],
        "total": len(sheet),
        "side": 48 if side <= 12 and len(sheet) > 16 else 72,
    }


def first_layer(path: Path, preprocess: Preprocess) -> tuple[str, np.ndarray] | None:
    """Name and weight [C_out, C_in, K_h, K_w] of the layer that sees the image, judged by shape and name.

    A weights file does not say in which order its layers run. A convolution whose kernels are as deep as the image
    (of several the one with the fewest kernels: depthwise layers further inside have more), else a matrix with a
    column a pixel. None where there is neither.
    """
    from safetensors import SafetensorError, safe_open

    shapes = header(path)
    height, width = preprocess.size
    pixels = preprocess.channels * height * width
    try:
        with safe_open(path, framework="numpy") as file:
            filters = [n for n, s in shapes.items() if len(s) == 4 and s[1] == preprocess.channels and 0 not in s]
            if filters:
                name = min(filters, key=lambda n: (shapes[n][0], -shapes[n][2] * shapes[n][3], natural(n)))
                return name, file.get_tensor(name).astype(np.float32)
            matrices = [n for n, s in shapes.items() if len(s) == 2 and s[1] == pixels and s[0]]
            if not matrices:
                return None
            name = min(matrices, key=natural)
            matrix = file.get_tensor(name).astype(np.float32)
            return name, matrix.reshape(-1, preprocess.channels, height, width)
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None
