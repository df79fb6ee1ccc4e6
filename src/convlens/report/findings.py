"""What the page shows of an examination: values for its templates."""

from pathlib import Path
from typing import Any

from convlens.base.errors import InputError
from convlens.base.words import bytes_text, percent
from convlens.report.embed import data_uri
from convlens.report.examine import record
from convlens.report.examine.doubts import TABLE
from convlens.report.examine.record import Duplicates, Examination, Labels, NetworkFacts, Pictures, Units, Where
from convlens.report.language import Words
from convlens.report.words import number
from convlens.runs import RunRecord

_BY_HEART = 0.995
"""Share of the training images that is answered as labeled, from which on the page warns."""

_WEAK = 0.1
"""Share of the test images that is mistaken, from which on the page warns that what is doubted may be right."""

_SMALL = 64  # pixels: smaller pictures are enlarged without smoothing


def findings(folder: Path, run: RunRecord, words: Words) -> dict[str, Any]:
    """The values of the templates labels, duplicates, network and left."""
    stored = record.load(folder)
    if stored is None:
        nothing = dict.fromkeys(("labels", "duplicates", "network", "units", "where"))
        return nothing | {"left": [words("left.not_kept")] if run.results else []}
    found, pictures = stored
    classes = run.classes
    _refuse_other_classes(found, len(classes))
    return {
        "labels": _labels(found.labels, pictures, run, words) if found.labels else None,
        "duplicates": _duplicates(found.duplicates, pictures, classes, words) if found.duplicates else None,
        "network": _network(found.network, words) if found.network else None,
        "units": _units(found.units, words) if found.units else None,
        "where": _where(found.where, pictures, words) if found.where else None,
        "left": _left(found, words),
    }


def _refuse_other_classes(found: Examination, classes: int) -> None:
    numbers = [
        n for pair in (found.duplicates.pairs if found.duplicates else []) for n in (pair.label, pair.other_label)
    ]
    numbers += [n for doubt in (found.labels.doubts if found.labels else []) for n in (doubt.given, doubt.suggested)]
    if any(not 0 <= n < classes for n in numbers):
        raise InputError(f"{record.FILE} names classes that the run does not have")


def _left(found: Examination, words: Words) -> list[str]:
    lines = [words(f"left.{name}", why=why) for name, why in found.left_out.items()]
    if found.labels is None and "labels" not in found.left_out:
        lines.append(words("left.not_examined"))
    return lines


def _where(found: Where, pictures: Pictures, words: Words) -> dict[str, Any]:
    """A picture by the number of the test image, and a line on all of them."""
    return {
        "pictures": {
            i: data_uri(picture, small=True) for i, picture in zip(found.index, pictures["where"], strict=True)
        },
        "said": words("mistakes.where", notes="; ".join(found.notes)),
    }


def _labels(found: Labels, pictures: Pictures, run: RunRecord, words: Words) -> dict[str, Any]:
    notes, classes = [], run.classes
    accuracy = number(run.results, "test", "accuracy")
    if accuracy is not None and 1 - accuracy >= _WEAK:
        notes.append(words("labels.weak", error=percent(1 - accuracy)))
    if found.learned > _BY_HEART:
        notes.append(words("labels.by_heart", learned=percent(found.learned)))
    if found.skipped:
        notes.append(words("labels.skipped", n=found.skipped))
    which = "found" if found.doubted else "none"
    return {
        "said": words(f"labels.{which}", n=found.doubted, images=found.images),
        "notes": notes,
        "about": words("labels.about", listed=found.listed, file=TABLE),
        "doubts": [
            {
                "picture": data_uri(picture, small=True),
                "small": max(picture.shape[:2]) <= _SMALL,
                "given": classes[doubt.given],
                "suggested": classes[doubt.suggested],
                "quality": doubt.quality,
                "probability": doubt.probability,
                "path": doubt.path or f"{doubt.part}[{doubt.index}]",
                "where": doubt.path.rpartition("/")[2] or f"{doubt.part}[{doubt.index}]",
            }
            for doubt, picture in zip(found.doubts, pictures["labels"], strict=True)
        ],
    }


def _duplicates(found: Duplicates, pictures: Pictures, classes: list[str], words: Words) -> dict[str, Any]:
    said = [words("duplicates.equal" if found.equal else "duplicates.none", n=found.equal, test=found.test)]
    if found.alike is not None:
        said.append(words("duplicates.alike" if found.alike else "duplicates.alike_none", n=found.alike))
    if found.conflicts:
        said.append(words("duplicates.conflicts", n=found.conflicts))
    if found.without is not None:
        said.append(words("duplicates.without", accuracy=percent(found.without)))
    return {
        "said": words("parts.space").join(said),
        "quiet": words(f"duplicates.{found.why}") if found.why in ("quick", "small", "many") else "",
        "pairs": [
            {
                "picture": data_uri(picture, small=True),
                "other_picture": data_uri(other, small=True),
                "small": max(picture.shape[:2]) <= _SMALL,
                "conflict": pair.label != pair.other_label,
                "label": classes[pair.label],
                "other_label": classes[pair.other_label],
                "said": words("duplicates.test", name=classes[pair.label]),
                "other_said": words(f"duplicates.{pair.part}", name=classes[pair.other_label]),
                "path": pair.path or f"test[{pair.test}]",
                "other_path": pair.other_path or f"{pair.part}[{pair.index}]",
            }
            for pair, picture, other in zip(
                found.pairs, pictures["duplicates.test"], pictures["duplicates.other"], strict=True
            )
        ],
    }


def _network(found: NetworkFacts, words: Words) -> dict[str, Any]:
    said = [words("network.totals", parameters=found.parameters, macs=found.macs)]
    if found.buffers:
        said.append(words("network.buffers", n=found.buffers))
    if found.training is not None:
        sizes = {name: bytes_text(getattr(found, name)) for name in ("training", "state", "image")}
        said.append(words("network.memory", batch=found.batch, **sizes))
    return {
        "said": words("parts.space").join(said),
        "buffers": found.buffers,
        "layers": [
            {
                "name": row.name,
                "kind": row.kind,
                "output": "×".join(map(str, row.output)) if row.output else "",
                "parameters": f"{row.parameters:,}" if row.parameters else "",
                "buffers": f"+{row.buffers:,}" if row.buffers else "",
                "macs": f"{row.macs:,}" if row.macs else "",
                "memory": bytes_text(row.memory) if row.memory else "",
            }
            for row in found.layers
        ],
    }


def _units(found: Units, words: Words) -> dict[str, Any]:
    rows = [row for row in found.rectifiers if row.dead and row.units]
    if rows:
        return {"said": words("network.dead_about", n=found.images), "rows": rows}
    if not found.rectifiers:
        return {"said": words("network.dead_nothing"), "rows": []}
    units = sum(row.units for row in found.rectifiers)
    return {
        "said": words("network.dead_none", units=units, layers=len(found.rectifiers), n=found.images),
        "rows": [],
    }
