"""Figures of a run in words, and what must be said beside its accuracy."""

import math
from typing import Any

import numpy as np

from convlens.base.words import percent
from convlens.classify.evaluation import Evaluation
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


def disagreement(record: RunRecord) -> str:
    """A remark where validation and test accuracy differ by more than chance explains, else ''.

    Two-proportion z-test with pooled variance, at 5 %.
    """
    val, test = number(record.results, "val", "accuracy"), number(record.results, "test", "accuracy")
    n_val, n_test = record.data.counts.get("val", 0), record.data.counts.get("test", 0)
    if val is None or test is None or n_val <= 0 or n_test <= 0:
        return ""
    pooled = (val * n_val + test * n_test) / (n_val + n_test)
    deviation = math.sqrt(max(0.0, pooled * (1 - pooled) * (1 / n_val + 1 / n_test)))
    if abs(val - test) <= 1.96 * deviation:
        return ""
    than = "lower" if test < val else "higher"
    return (
        f"The test accuracy ({percent(test)}) is {than} than the validation accuracy ({percent(val)}) by more than "
        "chance explains: the two sets may hold images of different kinds, or share images with the training set."
    )


def course(record: RunRecord) -> str:
    """What was special about the way the run went: that it stopped early, that several processes worked on it."""
    sentences = []
    stopped = (record.results or {}).get("stopped")
    if stopped:
        said = str(Stopped.model_validate(stopped))
        sentences.append(f"{said[:1].upper()}{said[1:]}.")
    if len(record.processes) > 1:
        sentences.append(f"Trained in {len(record.processes)} processes, whose times are added up.")
    return " ".join(sentences)


def turned(count: int) -> str:
    """How many pictures were turned as their EXIF tag says, if any."""
    if not count:
        return ""
    if count == 1:
        return "1 picture was turned as its EXIF tag says."
    return f"{count:,} pictures were turned as their EXIF tags say."


def left_out(files: LeftOut) -> dict[str, Any] | None:
    """What was not used of the data: a sentence, the first files with their reasons, how many more there are."""
    if not files.count:
        return None
    several = len(files.reasons) > 1
    reasons = "; ".join(f"{n:,} × {reason}" if several else reason for reason, n in files.reasons.items())
    picture = "picture file was" if files.count == 1 else "picture files were"
    return {
        "said": f"{files.count:,} {picture} left out" + (f": {reasons}." if reasons else "."),
        "files": files.files,
        "more": files.count - len(files.files),
    }
