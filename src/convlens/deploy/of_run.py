"""A run's network as a file for others: what the form needs besides comes from the run's own images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.classify.classifier import Classifier
from convlens.deploy import exporters
from convlens.deploy.judging import own_parts
from convlens.runs import RunFolder, RunRecord

if TYPE_CHECKING:
    from convlens.deploy.bench.measure import Bench

TO_CHECK = 32
"""Test images that a form is checked on."""


def bench_run(
    classifier: Classifier, folder: RunFolder, record: RunRecord, data: Any = None, **options: Any
) -> "Bench":
    """Measures the forms of a run's network. data: its images, where it cannot say where they are. options: see
    `bench.measure`."""
    from convlens.deploy.bench.measure import measure

    parts = own_parts(classifier.preprocess, record, data, whole=True)
    ours = record.model.source == "zoo"
    again = (lambda: Classifier.from_run(folder, record=record, device="cpu").module) if ours else None
    return measure(classifier, parts, run=folder.path if ours else None, another=again, **options)


def best_form(found: "Bench") -> tuple[str, dict[str, Any]]:
    """Format and settings that export the form which is fastest for one image; for one of PyTorch, its program."""
    from convlens.deploy.bench.forms import INT8, ONNX
    from convlens.deploy.bench.verdict import best

    name = best(found).name
    return ("onnx", {"int8": True} if name == INT8 else {}) if name in (ONNX, INT8) else ("program", {})


def export_run(
    classifier: Classifier,
    folder: RunFolder,
    record: RunRecord,
    format: str,
    out: Path | str | None,
    data: Any = None,
    settings: dict[str, Any] | None = None,
) -> exporters.Exported:
    """See `api.Run.export`. classifier: of the run; without code, where that was not handed over."""
    exporter, settings = exporters.find(format), dict(settings or {})
    exporters.refuse_unknown(exporter, settings)
    if "images" in exporter.takes and "images" not in settings:
        parts = own_parts(classifier.preprocess, record, data, whole=bool(settings.get("int8")))
        settings["images"] = np.asarray(parts.test.pixels[: min(len(parts.test), TO_CHECK)])
        if settings.get("int8"):
            settings["parts"] = parts
    return exporters.export(classifier, format, folder.path / exporter.file if out is None else out, **settings)
