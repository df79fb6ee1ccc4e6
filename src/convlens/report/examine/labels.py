"""Labels that are likely to be wrong: confident learning (Northcutt, Jiang and Chuang, 2021), by `cleanlab`."""

import importlib.util
from dataclasses import dataclass

import numpy as np

from convlens.base.errors import InputError


@dataclass(frozen=True)
class Ranking:
    """order: int64 [N], the images from the most doubtful label to the least. quality: float [N], by image: the
    probability that the network gives to the label. doubted: bool [N], which labels confident learning holds for wrong.
    """

    order: np.ndarray
    quality: np.ndarray
    doubted: np.ndarray


def require_cleanlab() -> None:
    """Raises `InputError` where it is not installed."""
    if importlib.util.find_spec("cleanlab") is None:
        raise InputError("label errors are found by cleanlab: pip install 'convlens[explain]'")


def rank(labels: np.ndarray, probabilities: np.ndarray) -> Ranking:
    """labels: int64 [N]. probabilities: float [N, K], what the network says of each image."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality = np.asarray(get_label_quality_scores(labels, probabilities, method="self_confidence"))
    doubted = np.zeros(len(labels), bool)
    present = np.unique(labels)
    if len(present) > 1:  # cleanlab wants images of every class that it is told of
        known = probabilities[:, present]
        known = known / np.maximum(known.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        doubted = np.asarray(find_label_issues(np.searchsorted(present, labels), known, n_jobs=1))
    return Ranking(np.lexsort((quality, ~doubted)), quality, doubted)
