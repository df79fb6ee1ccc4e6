"""How good a classifier is: probabilities, loss, confusion matrix, per-class figures, the surest mistakes.

The network runs batch after batch with no wait for the device; everything else is float64 NumPy arithmetic on
the collected logits, so the figures do not depend on the batch size or on the precision of the network.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

_Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution: 95 % lie within +- this


_MATRIX = 8192  # classes: a confusion matrix of more would take more than half a GiB
_ROWS = 1 << 22  # numbers: so many logits are turned into probabilities together


@dataclass(frozen=True)
class Scope:
    """Which of the images that were given count, and why others do not.

    trained: so many were left out because the network was trained on them; None where that is not known.
    other_classes: so many of each class that the network does not know were left out.
    absent: classes of the network of which there was no image. unreadable: (path, reason) of files without an answer.
    notes: the same in words, a line each.
    """

    trained: int | None = None
    other_classes: dict[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> "Scope":
        """The same with one more line."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What a classifier said about N labeled images of K classes.

    classes: K names. labels: int64 [N], the truth. probabilities: float32 [N, K], rows sum to 1.
    loss: mean cross-entropy in nats (natural logarithm), no label smoothing, no class weights.
    scope: what was left out, where images other than the network's own test images were given.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    loss: float
    scope: Scope = Scope(trained=0)

    def __repr__(self) -> str:
        notes = "".join(f"; {note}" for note in self.scope.notes)
        return f"Evaluation(accuracy {self.accuracy:.4f}, loss {self.loss:.4f}, {self.n} images{notes})"

    def __post_init__(self) -> None:
        n, k = len(self.labels), len(self.classes)
        if self.probabilities.shape != (n, k):
            raise InputError(f"expected probabilities of shape ({n}, {k}), got {self.probabilities.shape}")
        if n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < k:
            raise InputError(f"labels must lie in 0..{k - 1}, got {self.labels.min()}..{self.labels.max()}")

    @property
    def n(self) -> int:
        """How many images were judged."""
        return len(self.labels)

    @cached_property
    def predicted(self) -> np.ndarray:
        """int64 [N]: the most probable class of each image; of equals the first."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> int:
        """How many images were classified correctly."""
        return int((self.predicted == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """The fraction of images classified correctly; NaN for no images."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.n)

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 [K, K]: how many images of the class of the row were taken for the class of the column.

        Raises `InputError` for more than 8,192 classes: `confused` and `per_class` need no matrix.
        """
        k = len(self.classes)
        if k > _MATRIX:
            raise InputError(f"a confusion matrix of {k:,} classes would be too large; use confused() or per_class")
        return np.bincount(self.labels * k + self.predicted, minlength=k * k).reshape(k, k)

    def confused(self, k: int | None = None) -> list[tuple[int, int, int]]:
        """(true class, predicted class, images) of the k pairs of different classes that occurred most often.

        Of equals the one that comes first in the confusion matrix. All with k=None.
        """
        wrong = self.predicted != self.labels
        cells, counts = np.unique(self.labels[wrong] * len(self.classes) + self.predicted[wrong], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:k]
        return [(*divmod(int(cells[i]), len(self.classes)), int(counts[i])) for i in order]

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [K] each: images of a class, images taken for it, and images of it that were taken for it."""
        k = len(self.classes)
        right = self.labels[self.predicted == self.labels]
        truth, said, hits = (np.bincount(of, minlength=k) for of in (self.labels, self.predicted, right))
        return truth, said, hits

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """One dict per class: class, n (images of it), precision, recall, f1. A figure that would be 0/0 is NaN."""
        truth, said, hits = self.counts
        return [
            {
                "class": name,
                "n": int(truth[i]),
                "precision": _ratio(hits[i], said[i]),
                "recall": _ratio(hits[i], truth[i]),
                "f1": _ratio(2 * hits[i], truth[i] + said[i]),
            }
            for i, name in enumerate(self.classes)
        ]

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes, each counting the same however many images it has; NaN for no images.

        A class without images that nothing was taken for counts as absent.
        """
        truth, said, hits = self.counts
        there = truth + said > 0
        return float(np.mean(2 * hits[there] / (truth + said)[there])) if there.any() else math.nan

    def mistakes(self, k: int | None = None) -> np.ndarray:
        """int64 [<= k]: indices of the wrongly classified images, the surest mistake first (all with k=None)."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        confidence = self.probabilities[wrong].max(axis=1, initial=0.0)
        return wrong[np.argsort(-confidence, kind="stable")][:k]


def evaluate(module: "nn.Module", batches: Iterable[tuple["Tensor", "Tensor"]], classes: Sequence[str]) -> Evaluation:
    """Runs `module` in evaluation mode over `batches` of (x [n, C, H, W], y int64 [n]), both on its device.

    The module gives logits [n, K], K = len(classes), in any floating-point type (others: see `outputs.read_outputs`).
    Each submodule's training flag is put back afterwards. The device is waited for once, at the end. Raises
    `InputError` for no images, for outputs of another shape and for labels outside 0..K-1.
    """
    logits, labels = logits_over(module, batches, classes)
    if not len(labels):
        raise InputError("there are no images to evaluate on")
    return from_logits(logits, labels, classes)


def logits_over(
    module: "nn.Module", batches: Iterable[tuple["Tensor", "Tensor"]], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """What `evaluate` judges: logits float32 [N, K] and labels int64 [N]; N may be 0."""
    import torch

    from convlens.classify.outputs import logits_of
    from convlens.models.modes import evaluation_mode

    logits, labels = [torch.zeros(0, len(classes))], [torch.zeros(0, dtype=torch.int64)]
    with evaluation_mode(module), torch.inference_mode():
        for x, y in batches:
            logits.append(logits_of(module, x, len(classes)).float())
            labels.append(y)
        device = logits[-1].device
        return tuple(torch.cat([part.to(device) for part in parts]).cpu().numpy() for parts in (logits, labels))  # type: ignore[return-value]


def from_logits(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Evaluation:
    """The evaluation of logits [N, K] (any float type) against labels [N]. The softmax is computed in float64."""
    labels = labels.astype(np.int64)
    probabilities = np.empty(logits.shape, np.float32)
    found = Evaluation(tuple(classes), labels, probabilities, math.nan)  # checks labels before they index
    losses = np.empty(len(labels), np.float64)
    step = max(1, _ROWS // max(1, logits.shape[1]))
    for start in range(0, len(labels), step):  # float64 of all would be twice the memory of the logits
        rows = slice(start, start + step)
        z, p, total = exponentials(logits[rows])
        probabilities[rows] = p / total
        losses[rows] = np.log(total[:, 0]) - z[np.arange(len(z)), labels[rows]]
    return replace(found, loss=float(losses.mean()) if len(labels) else math.nan)


def exponentials(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The parts of the softmax of logits [N, K], all float64: z [N, K], which are the logits with the largest of each
    row moved to 0; exp(z); the sum of its rows [N, 1]. The probabilities are the second over the third."""
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which the loss then shows
        z = logits.astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        return z, p, p.sum(axis=1, keepdims=True)


def wilson_interval(correct: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """The score interval of a proportion, 95 % by default (Wilson, 1927): sensible near 0 and 1, unlike p +- z*sd."""
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if correct == 0 else max(0.0, center - half)
    high = 1.0 if correct == n else min(1.0, center + half)
    return low, high


def _ratio(part: int, whole: int) -> float:
    return float(part) / float(whole) if whole else math.nan
