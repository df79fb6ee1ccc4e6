"""What a report says beyond the answers on the test images: the network's layers, units that never fire, pictures that
stand in two parts, labels that are likely to be wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from convlens.base import files
from convlens.base.screen import printable
from convlens.classify.classifier import Classifier
from convlens.classify.evaluation import Evaluation
from convlens.data import Images
from convlens.data.splits import Splits
from convlens.report.examine import duplicates, record
from convlens.report.examine.doubts import TABLE, find_doubts
from convlens.report.examine.record import (
    SIDE,
    Duplicates,
    Examination,
    LayerRow,
    NetworkFacts,
    Pair,
    Pictures,
    RectifierRow,
    Topic,
    Units,
    Where,
)
from convlens.report.examine.where import overlays
from convlens.report.shrink import shrunk
from convlens.report.store import MISTAKES

OnProgress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

_LOOKED_AT, _FEWEST = 512, 64  # images, for units that never fire; the fewest of a large network at the end of training
_QUICK = 100_000_000_000  # multiply-accumulates that they may take then: a second or two on one core
_MEMORY = 256 << 20  # bytes of activations that one pass over them may take
_PAIRS = 18


@dataclass(frozen=True)
class Subject:
    """A trained network, the parts of its images, and what it said of the test part. batch: images of its training."""

    classifier: Classifier
    splits: Splits
    evaluation: Evaluation
    batch: int


@dataclass
class _Found:
    examination: Examination = field(default_factory=Examination)
    pictures: Pictures = field(default_factory=dict)
    table: str | None = None


def examine(
    folder: Path, subject: Subject, *, deep: bool, own_object: bool = False, on_progress: OnProgress | None = None
) -> Examination:
    """Examines a run and writes what was found into its folder.

    What fails is left out with its reason, `Examination.left_out`: a network that cannot be traced still has a report.

    Args:
        deep: look for label errors, which takes a pass over all training images, and for pictures that look alike, too.
        own_object: the network is an object of the caller's. Unless he asks for a deep look, it is not run: its hooks
            and counters would take the passes for steps of training.
    """
    tell = on_progress or (lambda what, done, total: None)
    found = _Found()
    steps: list[tuple[Topic, Callable[[], None]]] = [("duplicates", lambda: _duplicates(subject, deep, found))]
    if own_object and not deep:
        found.examination.left_out["own_object"] = ""
    else:
        steps.append(("network", lambda: _network(subject, found)))
        steps.append(("units", lambda: _units(subject, deep, found)))
    if deep:
        steps.append(("labels", lambda: _labels(subject, found, tell)))
        steps.append(("where", lambda: _where(subject, found)))
    for name, step in steps:
        try:
            step()
        except Exception as error:  # a network of the user's may raise anything; his run and its report are safe
            found.examination.left_out[name] = printable(f"{type(error).__name__}: {error}")[:300]
    record.save(folder, found.examination, found.pictures)
    if found.table is not None:
        files.write_text(folder / TABLE, found.table)
    return found.examination


def _network(subject: Subject, found: _Found) -> None:
    from convlens.inspection.summary import summarize

    preprocess = subject.classifier.preprocess
    summary = summarize(subject.classifier.module, (preprocess.channels, *preprocess.size), real=True)
    memory = summary.memory
    found.examination.network = NetworkFacts(
        layers=[
            LayerRow(
                name=layer.name,
                kind="" if layer.is_function else layer.kind,
                output=None if layer.output is None else list(layer.output),
                parameters=layer.parameters,
                buffers=layer.buffers,
                macs=layer.macs,
                memory=layer.kept,
            )
            for layer in summary.layers
        ],
        parameters=summary.parameters,
        buffers=summary.buffers,
        macs=summary.macs,
        batch=subject.batch,
        state=memory.state,
        image=memory.training,
        training=None if memory.training is None else memory.of_batch(subject.batch),
    )


def _units(subject: Subject, deep: bool, found: _Found) -> None:
    from convlens.inspection.dead import dead_units

    classifier, test = subject.classifier, subject.splits.test
    facts = found.examination.network
    quick = max(_FEWEST, _QUICK // max(1, facts.macs)) if facts and not deep else _LOOKED_AT
    index = np.unique(np.linspace(0, len(test) - 1, min(_LOOKED_AT, quick, len(test))).round().astype(np.int64))
    each = sum(4 * int(np.prod(row.output)) for row in facts.layers if row.output) if facts else _MEMORY // 8
    batch = max(1, min(64, _MEMORY // max(1, each)))
    rectifiers = dead_units(classifier.module, _batches(classifier, test, index, batch))
    found.examination.units = Units(
        images=len(index),
        rectifiers=[RectifierRow(name=r.name, after=r.after, units=r.units, dead=r.dead) for r in rectifiers],
    )


def _batches(classifier: Classifier, images: Images, index: np.ndarray, batch: int) -> Iterator:
    import torch

    module = classifier.module
    device = classifier.device or next((str(p.device) for p in module.parameters()), "cpu")
    for start in range(0, len(index), batch):
        pixels = np.asarray(images.pixels[index[start : start + batch]])
        yield torch.from_numpy(classifier.preprocess.normalize(pixels)).to(device)


def _duplicates(subject: Subject, deep: bool, found: _Found) -> None:
    splits, judged = subject.splits, subject.evaluation
    test, others = splits.test, {"train": splits.train, "val": splits.val}
    equal = duplicates.equal(test, others)
    known = {twin.test for twin in equal}
    why = duplicates.why_not_alike(test, others) if deep else "quick"
    alike = [] if why else [twin for twin in duplicates.alike(test, others) if twin.test not in known]
    twins = sorted([*equal, *alike], key=lambda t: (test.labels[t.test] == others[t.part].labels[t.index], t.test))
    pairs = [
        Pair(
            test=twin.test,
            path=_path(test, twin.test),
            label=int(test.labels[twin.test]),
            part=twin.part,  # type: ignore[arg-type] - one of two
            index=twin.index,
            other_path=_path(others[twin.part], twin.index),
            other_label=int(others[twin.part].labels[twin.index]),
            exact=twin.exact,
        )
        for twin in twins
    ]
    fresh = np.ones(len(test), bool)
    fresh[[twin.test for twin in twins]] = False
    right = judged.predicted == judged.labels
    shown = pairs[:_PAIRS]
    found.examination.duplicates = Duplicates(
        test=len(test),
        equal=len(equal),
        alike=None if why else len(alike),
        why=why,
        conflicts=sum(pair.label != pair.other_label for pair in pairs),
        without=float(right[fresh].mean()) if pairs and fresh.any() else None,
        pairs=shown,
    )
    if shown:
        found.pictures["duplicates.test"] = _pictures([(test, pair.test) for pair in shown])
        found.pictures["duplicates.other"] = _pictures([(others[pair.part], pair.index) for pair in shown])


def _labels(subject: Subject, found: _Found, tell: OnProgress) -> None:
    doubts = find_doubts(
        subject.classifier,
        subject.splits,
        subject.evaluation,
        lambda done, total: tell("looking for label errors", done, total),
    )
    found.examination.labels, found.table = doubts.labels, doubts.table
    if len(doubts.pictures):
        found.pictures["labels"] = doubts.pictures


def _where(subject: Subject, found: _Found) -> None:
    index = subject.evaluation.mistakes(MISTAKES)
    if not len(index):
        return
    pictures, notes = overlays(subject.classifier, np.asarray(subject.splits.test.pixels[index]))
    found.examination.where = Where(index=index.tolist(), notes=list(notes))
    found.pictures["where"] = pictures


def _path(images: Images, index: int) -> str:
    return "" if images.paths is None else str(images.paths[index]).encode("utf-8", "replace").decode()


def _pictures(places: list[tuple[Images, int]]) -> np.ndarray:
    return shrunk(np.concatenate([np.asarray(images.pixels[[i]]) for images, i in places]), SIDE)
