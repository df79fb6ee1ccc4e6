"""A run's network as a file for others: what the form needs besides comes from the run's own images."""

from pathlib import Path
from typing import Any

import numpy as np

from convlens.classify.classifier import Classifier
from convlens.deploy import exporters
from convlens.deploy.judging import own_parts
from convlens.runs import RunFolder, RunRecord

TO_CHECK = 32
"""Test images that a form is checked on."""


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
