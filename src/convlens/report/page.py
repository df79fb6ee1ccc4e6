"""Gathers what a run folder holds and fills the page's template with it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from convlens.base import files
from convlens.base.words import duration, percent
from convlens.classify.evaluation import Evaluation, wilson_interval
from convlens.data.preprocess import Preprocess
from convlens.report import curves, drawings
from convlens.report.store import FILE, load_evaluation
from convlens.report.words import course, disagreement, left_out, majority, number, turned
from convlens.runs import RunFolder, RunRecord
from convlens.training.again import again


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
        left_out=left_out(record.data.left_out),
        turned=turned(record.data.turned),
        started=record.created.replace("T", " ").replace("+00:00", " UTC"),
        course=course(record),
        again=again(record),
        charts=curves.charts(folder.read_metrics(), number(record.results, "best_epoch")),
        confusion=drawings.confusion(stored.evaluation) if stored else None,
        pairs=drawings.confused_pairs(stored.evaluation, 12) if stored else [],
        rows=drawings.per_class(stored.evaluation) if stored else [],
        folded=drawings.FOLDED,
        mistakes=drawings.mistakes(stored) if stored else [],
        kernels=drawings.kernels(folder, preprocess),
        unused=[(key, value) for key, value in flat(record.recipe) if key in record.unused],
        settings=[
            ("Recipe", _recipe(record)),
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


def _recipe(record: RunRecord) -> list[tuple[str, str]]:
    """The settings that had an effect; of those that were left open, what became of them."""
    rows = [(key, value) for key, value in flat(record.recipe) if key not in record.unused]
    now = {key: _in_words(value) for key, value in record.resolved.items()}
    return [(key, value if now.get(key, value) == value else f"{now[key]} ({value})") for key, value in rows]


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
