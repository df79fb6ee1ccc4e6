"""Answers for whatever people hand over, one by one: also where some of it cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.base.progress import say
from convlens.classify.classifier import BATCH, Classifier, Prediction
from convlens.data import Preprocess
from convlens.deploy.inputs import Item, Say, pictures, reason


@dataclass(frozen=True)
class Failure:
    """A picture that could not be read, and why."""

    path: str
    error: str


def predict(classifier: Classifier, images: Any, *, top: int = 5, on_note: Say = say) -> Any:
    """The answer for one picture, or a list of answers for several. See `api.Run.predict`."""
    several, items = pictures(images, classifier.preprocess.channels, on_note)
    found = list(_answers(classifier, items, top))
    if len(found) == 1 and isinstance(found[0], Failure) and (not several or found[0].path == str(images)):
        raise InputError(found[0].error)
    return found if several else found[0]


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
    return _answers(classifier, pictures(images, classifier.preprocess.channels, on_note)[1], top)


def _answers(classifier: Classifier, items: Iterator[Item], top: int) -> Iterator[Prediction | Failure]:
    if not isinstance(top, int) or top < 1:
        raise InputError(f"top: how many classes to rank must be at least 1, not {top!r}")
    while batch := list(islice(items, BATCH)):
        prepared = [_prepared(item, classifier.preprocess) for item in batch]
        good = [pixels for pixels in prepared if isinstance(pixels, np.ndarray)]
        answers = iter(classifier.ranked(np.stack(good), top) if good else ())
        for item, pixels in zip(batch, prepared, strict=True):
            yield pixels if isinstance(pixels, Failure) else replace(next(answers), path=item.path)


def _prepared(item: Item, preprocess: Preprocess) -> np.ndarray | Failure:
    try:
        if isinstance(item.picture, InputError):
            raise item.picture
        return preprocess.prepare(item.picture, item.name)
    except InputError as error:
        if not item.is_file:
            raise
        return Failure(item.path or item.name, reason(item, error))
