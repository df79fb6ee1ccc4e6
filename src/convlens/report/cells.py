"""Which test images the cells of the confusion matrix open, and how the page shows them."""

from typing import Any

import numpy as np

from convlens.classify.evaluation import Evaluation
from convlens.report.embed import data_uri
from convlens.report.language import Words

MATRIX = 30
"""Classes: of more, no cell but those of the most frequent confusions opens."""

PAIRS = 12
"""Most frequent confusions that are listed."""

SIDE = 64
"""Pixels: the longer side of a picture that a cell opens."""

_PICTURES = 400  # in all cells together
_TINY, _TINY_PICTURES = 32, 800  # of pictures up to 32 pixels so many, which take no more room
_EACH = 12  # in one cell


def chosen(evaluation: Evaluation, side: int) -> np.ndarray:
    """int64 [M]: the images that the cells show, cell after cell: mistakes the surest first, right ones the least sure.

    The cells with the most images come first, those of mistakes before the diagonal.
    side: pixels, the longer side of an image.
    """
    most = _TINY_PICTURES if side <= _TINY else _PICTURES
    classes = len(evaluation.classes)
    wrong = [(i, j) for i, j, _ in evaluation.confused(None if classes <= MATRIX else PAIRS)]
    right = [(i, i) for i in range(classes) if evaluation.confusion[i, i]] if classes <= MATRIX else []
    each = min(_EACH, max(2, most // max(1, len(wrong) + len(right))))
    found: list[int] = []
    for i, j in [*wrong, *right][: most // 2]:
        members = np.flatnonzero((evaluation.labels == i) & (evaluation.predicted == j))
        sure = evaluation.probabilities[members, j]
        found += members[np.argsort(sure if i == j else -sure, kind="stable")][:each].tolist()
    return np.array(found[:most], np.int64)


def cells(
    evaluation: Evaluation, index: np.ndarray, pixels: np.ndarray, paths: tuple[str, ...], words: Words
) -> dict[tuple[int, int], dict[str, Any]]:
    """What each cell opens, by (true class, predicted class): a title, a line, figures."""
    _, _, hits = evaluation.counts
    counts = {(i, j): n for i, j, n in evaluation.confused()}
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for i, picture, path in zip(index.tolist(), pixels, paths, strict=True):
        key = (int(evaluation.labels[i]), int(evaluation.predicted[i]))
        true, said = (evaluation.classes[k] for k in key)
        title = words("cell.right", true=true) if key[0] == key[1] else words("cell.wrong", true=true, said=said)
        cell = found.setdefault(key, {"id": f"cell-{key[0]}-{key[1]}", "title": title, "figures": []})
        cell["figures"].append(
            {
                "picture": data_uri(picture, small=True),
                "probability": float(evaluation.probabilities[i, key[1]]),
                "true": true,
                "path": path,
                "file": path.rpartition("/")[2],
            }
        )
    for key, cell in found.items():
        n, shown = counts[key] if key in counts else int(hits[key[0]]), len(cell["figures"])
        which = "all" if shown == n else "some_right" if key[0] == key[1] else "some"
        cell["said"] = words(f"cell.{which}", n=n, shown=shown)
    return found
