"""Gathers what a run folder holds and fills the page's template with it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from convlens import inspection
from convlens.base import files
from convlens.base.words import duration, percent
from convlens.classify.calibration import calibration
from convlens.classify.evaluation import Evaluation, wilson_interval
from convlens.data.preprocess import Preprocess
from convlens.report import curves, drawings, reliability, within
from convlens.report.again import again
from convlens.report.cells import PAIRS, cells
from convlens.report.findings import findings
from convlens.report.language import Words, load
from convlens.report.store import FILE, StoredEvaluation, load_evaluation
from convlens.report.words import course, disagreement, left_out, majority, number, split
from convlens.runs import RunFolder, RunRecord


def write(run_folder: Path | str, language: str = "en") -> Path:
    """Writes `report.html` into a run folder, from what lies there, and returns its path.

    Of a run that is not finished it shows what there is. `language`: one of `language.NAMES`. Raises `InputError` for a
    folder that is no run folder, files in it that are not what they should be, a language that there is no table of.
    """
    words = load(language)
    folder = RunFolder(run_folder)
    record = folder.read_record()
    preprocess = Preprocess.from_dict(record.preprocess)
    if folder.weights.exists():
        folder.compare_weights(record)
    records = folder.read_metrics()
    stored = load_evaluation(folder.path) if (folder.path / FILE).exists() else None
    values = dict(
        record=record,
        **_head(record, stored.evaluation if stored else None, preprocess, words),
        charts=curves.charts(records, number(record.results, "best_epoch"), words),
        **(_judged(stored, words) if stored else dict.fromkeys(_OF_THE_TEST)),
        **findings(folder.path, record, words),
        within=within.section(records, words),
        folded=drawings.FOLDED,
        kernels=drawings.kernels(folder, preprocess),
        unused=[(key, value) for key, value in flat(record.recipe, words) if key in record.unused],
        settings=_settings(record, words),
    )
    contents = [name for name, of in _SECTIONS.items() if any(values[key] for key in of)]
    files.write_text(folder.report, _template(words).render(values, contents=contents))
    return folder.report


_SECTIONS = {
    "training": ("charts",),
    "confusion": ("confusion",),
    "classes": ("rows",),
    "calibration": ("calibration",),
    "mistakes": ("mistakes",),
    "labels": ("labels",),
    "duplicates": ("duplicates",),
    "network": ("network", "units"),
    "within": ("within",),
    "kernels": ("kernels",),
    "left": ("left",),
    "settings": ("settings",),
}
"""The sections of the page in their order, and the values of which one must be there for each."""


def _template(words: Words) -> Any:
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent / "templates", Path(inspection.__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.globals["t"] = words
    return environment.get_template("report.html.j2")


def _head(record: RunRecord, evaluation: Evaluation | None, preprocess: Preprocess, words: Words) -> dict[str, Any]:
    """What stands above the first figure."""
    return {
        "headline": _headline(record, evaluation),
        "baseline": majority(evaluation) if evaluation else None,
        "remark": disagreement(record, words),
        "facts": _facts(record, preprocess, words),
        "split": split(record, words),
        "course": course(record, words),
        "left_out": left_out(record.data.left_out, words),
        "started": record.created.replace("T", " ").replace("+00:00", " UTC"),
        "again": again(record, words),
    }


_OF_THE_TEST = ("confusion", "pairs", "cells", "rows", "calibration", "mistakes")


def _judged(stored: StoredEvaluation, words: Words) -> dict[str, Any]:
    """What the test images say."""
    judged, kept = stored.evaluation, stored.cells
    opens = cells(judged, kept.index, kept.pixels, kept.names, words)
    return {
        "confusion": drawings.confusion(judged, opens, words),
        "pairs": drawings.confused_pairs(judged, PAIRS, opens, words),
        "cells": list(opens.values()),
        "rows": drawings.per_class(judged),
        "calibration": reliability.section(calibration(judged), words),
        "mistakes": drawings.mistakes(stored),
    }


# ---- figures and words


def _settings(record: RunRecord, words: Words) -> list[tuple[str, list[tuple[str, str]]]]:
    """(title, rows) of each table of settings. What is seen in a recipe or a file keeps its name in any language."""
    network = {words("settings.arguments"): record.model.arguments, words("settings.input"): record.model.input}
    data = {
        words("settings.source"): record.data.source,
        words("settings.fingerprint"): record.data.fingerprint,
        words("settings.seed"): record.seed,
    }
    return [
        (words("settings.recipe"), _recipe(record, words)),
        (words("settings.arithmetic"), flat(record.numeric, words)),
        (words("settings.preprocessing"), flat(record.preprocess, words)),
        (words("settings.network"), flat(network, words)),
        (words("settings.versions"), flat(record.versions, words)),
        (words("settings.data"), flat(data, words)),
    ]


def flat(values: dict[str, Any], words: Words, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, value in words)."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += flat(value, words, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _in_words(value, words)))
    return rows


def _recipe(record: RunRecord, words: Words) -> list[tuple[str, str]]:
    """The settings that had an effect; of those that were left open, what became of them."""
    rows = [(key, value) for key, value in flat(record.recipe, words) if key not in record.unused]
    now = {key: _in_words(value, words) for key, value in record.resolved.items()}
    return [(key, value if now.get(key, value) == value else f"{now[key]} ({value})") for key, value in rows]


def _in_words(value: Any, words: Words) -> str:
    if isinstance(value, bool):
        return words("settings.yes" if value else "settings.no")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_in_words(one, words) for one in value) or words("settings.none")
    return words("settings.none") if value is None or value == "" else str(value)


def _headline(record: RunRecord, evaluation: Evaluation | None) -> dict[str, Any] | None:
    """The test accuracy with its interval; None while the run is not finished."""
    accuracy = number(record.results, "test", "accuracy")
    if accuracy is None:
        return None
    n = evaluation.n if evaluation else int(number(record.results, "test", "n") or record.data.counts.get("test", 0))
    correct = evaluation.correct if evaluation else round(accuracy * n)
    low, high = wilson_interval(min(correct, n), n)
    return {"accuracy": accuracy, "n": n, "correct": correct, "low": low, "high": high}


def _facts(record: RunRecord, preprocess: Preprocess, words: Words) -> list[tuple[str, str]]:
    """The tiles under the headline: (what, figure). What is not known is left out."""
    results = record.results
    epochs, best = number(results, "epochs"), number(results, "best_epoch")
    candidates = [
        ("val_accuracy", number(results, "val", "accuracy"), percent),
        ("test_loss", number(results, "test", "loss"), "{:.4f}".format),
        ("parameters", record.model.parameters, "{:,}".format),
        ("epochs", epochs, "{:g}".format),
        ("best_epoch", best if best != epochs else None, "{:g}".format),
        ("training_time", number(results, "seconds", "train"), duration),
        ("total_time", number(results, "seconds", "total"), duration),
        ("speed", number(results, "images_per_second"), "{:,.0f}".format),
        ("classes", len(record.classes), "{:,}".format),
        ("input", f"{preprocess.channels}×{preprocess.size[0]}×{preprocess.size[1]}", str),
    ]
    return [(words(f"facts.{what}"), form(value)) for what, value, form in candidates if value is not None]
