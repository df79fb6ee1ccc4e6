"""Answers for whatever people hand over, one by one: also where some of it cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.base.progress import say
from convlens.classify.classifier import BATCH, Classifier, Prediction
from convlens.deploy.inputs import Item, Say, pictures, reason


@dataclass(frozen=True)
class Failure:
    """A picture that could not be read, and why."""

    path: str
    error: str


def stream(classifier: Classifier, images: Any, *, top: int = 5, on_note: Say = say) -> Iterator[Prediction | Failure]:
    """Answers in the order given, while pictures are read; 256 of them are in memory at a time.

    Args:
        images: one or several of: path; Pillow image; bytes or open file of a picture; array or tensor [H, W],
            [H, W, C] or [C, H, W] (types: see `data.images.as_uint8`). A stack [N, H, W], [N, H, W, C] or
            [N, C, H, W] is N pictures; a folder, zip or tar stands for the pictures in it; several may be a list,
            any other iterable or a generator, or `Images`.
        top: how many classes `Prediction.top` holds.
        on_note: is told what was guessed about the axes of an array, a line for each guess.

    Raises:
        InputError: what is no picture at all. A file that cannot be read becomes a `Failure`.
    """
    return answers(classifier, pictures(images, classifier.preprocess.channels, on_note)[1], top)


def answers(classifier: Classifier, items: Iterator[Item], top: int = 5) -> Iterator[Prediction | Failure]:
    """`stream` of what `inputs.pictures` gave."""
    while batch := list(islice(items, BATCH)):
        failures: dict[int, Failure] = {}
        good = []
        for place, item in enumerate(batch):
            try:
                if isinstance(item.picture, InputError):
                    raise item.picture
                good.append(classifier.preprocess.prepare(item.picture, item.name))
            except InputError as error:
                if not item.is_file:
                    raise
                failures[place] = Failure(item.path or item.name, reason(item, error))
        ranked = iter(classifier.ranked(np.stack(good), top) if good else ())
        for place, item in enumerate(batch):
            yield failures[place] if place in failures else replace(next(ranked), path=item.path)
