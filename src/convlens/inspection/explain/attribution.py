"""What attributions share: which number is explained, and the maps that say which pixels it comes from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.errors import InputError
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.subject import Options, Pictures, Subject

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class Attribution(Explanation):
    """One map a picture. arrays["maps"]: float64 [N, H, W], for pixels of the network's input.

    signed: whether the sign means something (for and against the class), so that zero is the middle.
    unit: what a number of the map is, in a few words.
    """

    signed: bool
    unit: str

    @property
    def maps(self) -> np.ndarray:
        return self.arrays["maps"]


@dataclass(frozen=True, eq=False)
class Aims:
    """The number that is explained, for each of N pictures: logits[target], or logits[target] - logits[against].

    logits: float32 [N, K]. target: int64 [N]. against: int64 [N], or None.
    """

    logits: np.ndarray
    target: np.ndarray
    against: np.ndarray | None

    @property
    def scores(self) -> np.ndarray:
        """float32 [N], the numbers explained."""
        rows = np.arange(len(self.target))
        scores = self.logits[rows, self.target]
        return scores if self.against is None else scores - self.logits[rows, self.against]

    def weights(self) -> np.ndarray:
        """float64 [N, K]: the scores are the row sums of logits * weights."""
        found = np.zeros(self.logits.shape)
        rows = np.arange(len(self.target))
        found[rows, self.target] += 1
        if self.against is not None:
            found[rows, self.against] -= 1
        return found


def aims(subject: Subject, pictures: Pictures, options: Options) -> Aims:
    """The classes that the options name, or those that the network predicts.

    Raises:
        InputError: an unknown class, the same class twice, outputs that are not finite.
    """
    against = None if options.against is None else subject.class_number(options.against)
    logits = subject.classifier.logits(pictures.pixels)
    if not np.isfinite(logits).all():
        raise InputError("the network gives outputs that are not finite: there is nothing to explain")
    chosen = logits.argmax(1) if options.target is None else _numbers(subject, options.target, len(logits))
    if against is not None and (chosen == against).any():
        name = subject.classes[against]
        hint = (
            ""
            if options.target is not None
            else ", which is the class predicted; say which class to explain by --class"
        )
        raise InputError(f"--against {name!r} is the class that is explained{hint}")
    return Aims(logits, chosen, None if against is None else np.full(len(logits), against))


def _numbers(subject: Subject, target: str | tuple[str, ...], n: int) -> np.ndarray:
    """int64 [n]: the number of each picture's class."""
    names = (target,) * n if isinstance(target, str) else target
    if len(names) != n:
        raise InputError(f"target: {len(names)} classes for {n} pictures; name one, or one for each picture")
    return np.array([subject.class_number(name) for name in names], np.int64)


def score(subject: Subject, x: "Tensor", target: "Tensor", against: "Tensor | None" = None) -> "Tensor":
    """[N]: the number explained for each input [N, C, H, W], as a tensor with gradients. Only within `at_work`."""
    logits = subject.logits(x)
    found = logits.gather(1, target[:, None])[:, 0]
    return found if against is None else found - logits.gather(1, against[:, None])[:, 0]


def batches(
    subject: Subject, pictures: Pictures, aims: Aims, device: str
) -> "Iterator[tuple[Tensor, tuple[Any, ...]]]":
    """Inputs [n, C, H, W], a few pictures at a time, and the further arguments of `score`. Within `at_work`."""
    import torch

    for start in range(0, len(pictures), BATCH):
        part = slice(start, start + BATCH)
        classes = [aims.target[part]] + ([] if aims.against is None else [aims.against[part]])
        yield subject.inputs(pictures.pixels[part], device), tuple(torch.from_numpy(c).to(device) for c in classes)
