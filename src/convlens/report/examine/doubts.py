"""The labels of a run's images, from the most doubtful on: a table for the whole, rows with pictures for the first."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convlens.classify.classifier import Classifier
from convlens.classify.evaluation import Evaluation
from convlens.data import Images
from convlens.data.splits import Splits
from convlens.report.examine.labels import rank
from convlens.report.examine.record import SIDE, Doubt, Labels
from convlens.report.shrink import shrunk

TABLE = "label_errors.csv"
"""The whole list, in the run folder."""

_SHOWN = 36
_SHARE = 0.05  # of the images: the list is at least as long
_LONGEST = 200_000  # rows
_NUMBERS = 1 << 28  # probabilities: a part of more is left out
_CHUNK = 4096  # images


@dataclass(frozen=True)
class Doubts:
    """What the page shows, its pictures uint8 [N, H, W, C], and the text of the whole list."""

    labels: Labels
    pictures: np.ndarray
    table: str


def find_doubts(
    classifier: Classifier, splits: Splits, evaluation: Evaluation, on_progress: Callable[[int, int], None]
) -> Doubts:
    """Ranks the labels of training, validation and test images, each part by itself, in one list.

    The network has seen the labels of the training images: one that learned them by heart doubts none of them.
    """
    rows: list[Doubt] = []
    skipped = learned = images = 0
    total = len(splits.train) + len(splits.val)
    for part, of in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        if not len(of):
            continue
        if len(of) * len(of.classes) > _NUMBERS:
            skipped += len(of)
            continue
        if part == "test":
            probabilities = evaluation.probabilities
        else:
            done = images
            probabilities = _said(classifier, of, lambda n, done=done: on_progress(done + n, total))
        if part == "train":
            learned = float((probabilities.argmax(axis=1) == of.labels).mean())
        images += len(of)
        rows += _rows(part, of, probabilities)
    rows.sort(key=lambda row: (not row.doubted, row.quality))
    doubted = sum(row.doubted for row in rows)
    rows = rows[: min(_LONGEST, max(doubted, math.ceil(_SHARE * images)))]
    first = rows[:_SHOWN]
    of_part = {"train": splits.train, "val": splits.val, "test": splits.test}
    shown = [np.asarray(of_part[row.part].pixels[[row.index]]) for row in first]
    height, width, channels = splits.train.pixels.shape[1:]
    stack = np.concatenate(shown) if shown else np.zeros((0, height, width, channels), np.uint8)
    labels = Labels(images=images, doubted=doubted, listed=len(rows), learned=learned, skipped=skipped, doubts=first)
    return Doubts(labels, shrunk(stack, SIDE), _table(rows, splits.train.classes))


def _said(classifier: Classifier, images: Images, on_progress: Callable[[int], None]) -> np.ndarray:
    found = np.empty((len(images), len(images.classes)), np.float32)
    for start in range(0, len(images), _CHUNK):
        found[start : start + _CHUNK] = classifier.probabilities(images.pixels[start : start + _CHUNK])
        on_progress(min(start + _CHUNK, len(images)))
    return found


def _rows(part: str, images: Images, probabilities: np.ndarray) -> list[Doubt]:
    """The part's share of the list: what is doubted, and as much more as the list may need."""
    ranking = rank(images.labels, probabilities)
    kept = max(int(ranking.doubted.sum()), math.ceil(_SHARE * 4 * len(images)), _SHOWN)
    said = probabilities.argmax(axis=1)
    return [
        Doubt(
            part=part,
            index=i,
            path="" if images.paths is None else str(images.paths[i]).encode("utf-8", "replace").decode(),
            given=int(images.labels[i]),
            suggested=int(said[i]),
            quality=float(ranking.quality[i]),
            probability=float(probabilities[i, said[i]]),
            doubted=bool(ranking.doubted[i]),
        )
        for i in ranking.order[:kept].tolist()
    ]


def _table(rows: list[Doubt], classes: tuple[str, ...]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "index", "path", "label", "suggested", "probability_of_label", "doubted"])
    for row in rows:
        names = (classes[row.given], classes[row.suggested])
        writer.writerow([row.part, row.index, row.path, *names, f"{row.quality:.6g}", int(row.doubted)])
    return out.getvalue()
