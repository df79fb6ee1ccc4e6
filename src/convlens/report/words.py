"""Figures of a run in words, and what must be said beside its accuracy."""

import math
from typing import Any

import numpy as np

from convlens.base.words import percent
from convlens.classify.evaluation import Evaluation
from convlens.report.language import Words, english
from convlens.runs import LeftOut, RunRecord, Stopped


def number(values: Any, *path: str) -> float | None:
    """The finite number at a path of nested dictionaries, or None. An untrusted file may hold anything there."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    if isinstance(values, bool) or not isinstance(values, (int, float)) or not math.isfinite(values):
        return None
    return values


def majority(evaluation: Evaluation) -> dict[str, Any] | None:
    """The largest class of the test set and its share: the accuracy of always answering it."""
    if not evaluation.n:
        return None
    counts = np.bincount(evaluation.labels, minlength=len(evaluation.classes))
    return {"class": evaluation.classes[int(counts.argmax())], "share": float(counts.max() / evaluation.n)}


def disagreement(record: RunRecord, words: Words | None = None) -> str:
    """A remark where validation and test accuracy differ by more than chance explains, else ''.

    Two-proportion z-test with pooled variance, at 5 %.
    """
    words = words or english()
    val, test = number(record.results, "val", "accuracy"), number(record.results, "test", "accuracy")
    n_val, n_test = record.data.counts.get("val", 0), record.data.counts.get("test", 0)
    if val is None or test is None or n_val <= 0 or n_test <= 0:
        return ""
    pooled = (val * n_val + test * n_test) / (n_val + n_test)
    deviation = math.sqrt(max(0.0, pooled * (1 - pooled) * (1 / n_val + 1 / n_test)))
    if abs(val - test) <= 1.96 * deviation:
        return ""
    which = "lower" if test < val else "higher"
    return words(f"head.disagreement_{which}", test=percent(test), val=percent(val))


def split(record: RunRecord, words: Words) -> str:
    """How many images each part has, and what the parts were used for."""
    counts = [
        words(f"parts.{part}", n=n) if part in ("train", "val", "test") else words("parts.other", part=part, n=n)
        for part, n in record.data.counts.items()
        if n
    ]
    said = words.said("split", record.data.split)
    return words("parts.sentences", counts=words("parts.join").join(counts), said=f"{said[:1].upper()}{said[1:]}")


def course(record: RunRecord, words: Words) -> str:
    """What was special about the run: pictures that were turned, that it stopped early, that several processes worked
    on it."""
    sentences = [words("head.turned", n=record.data.turned)] if record.data.turned else []
    stopped = (record.results or {}).get("stopped")
    if stopped:
        found = Stopped.model_validate(stopped)
        key = "head.time_up" if found.reason == "budget" else "head.stopped"
        sentences.append(words(key, n=found.patience, epoch=found.epoch, planned=found.planned, best=found.best_epoch))
    if len(record.processes) > 1:
        sentences.append(words("head.processes", n=len(record.processes)))
    return words("parts.space").join(sentences)


def left_out(files: LeftOut, words: Words) -> dict[str, Any] | None:
    """What was not used of the data: a sentence, the first files with their reasons, how many more there are."""
    if not files.count:
        return None
    several = len(files.reasons) > 1
    reasons = "; ".join(f"{n:,} × {reason}" if several else reason for reason, n in files.reasons.items())
    said = words("head.left_out", n=files.count)
    return {
        "said": words("head.left_out_why", said=said, reasons=reasons) if reasons else words("head.full", said=said),
        "files": files.files,
        "more": files.count - len(files.files),
    }
