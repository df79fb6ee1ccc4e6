"""Answers for whatever people hand over, one by one: also where some of it cannot be read."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.base.hardware import usable_cores
from convlens.base.progress import say
from convlens.classify.classifier import BATCH, Classifier, Prediction
from convlens.deploy.inputs import Item, Say, pictures, reason

_SHARE = 32  # pictures that one thread decodes at a time


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


def answers(
    classifier: Classifier, items: Iterator[Item], top: int = 5, *, ahead: bool = False
) -> Iterator[Prediction | Failure]:
    """`stream` of what `inputs.pictures` gave. ahead: the next 256 are decoded while these are answered."""
    for batch, pixels in _decoded_ahead(classifier, items) if ahead else _decoded(classifier, items):
        good = [one for one in pixels if not isinstance(one, Failure)]
        ranked = iter(classifier.ranked(np.stack(good), top) if good else ())
        for item, one in zip(batch, pixels, strict=True):
            yield one if isinstance(one, Failure) else replace(next(ranked), path=item.path)


_Decoded = Iterator[tuple[list[Item], list[np.ndarray | Failure]]]


def _decoded(classifier: Classifier, items: Iterator[Item]) -> _Decoded:
    while batch := list(islice(items, BATCH)):
        yield batch, [_prepared(classifier, item) for item in batch]


def _decoded_ahead(classifier: Classifier, items: Iterator[Item]) -> _Decoded:
    waiting: deque[tuple[list[Item], list[Future]]] = deque()

    def prepare(some: list[Item]) -> list[np.ndarray | Failure]:
        return [_prepared(classifier, item) for item in some]

    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as pool:
        while True:
            if batch := list(islice(items, BATCH)):
                shares = [batch[start : start + _SHARE] for start in range(0, len(batch), _SHARE)]
                waiting.append((batch, [pool.submit(prepare, share) for share in shares]))
            if len(waiting) == 2 or (waiting and not batch):
                batch, shares = waiting.popleft()
                yield batch, [one for share in shares for one in share.result()]
            elif not batch:
                return


def _prepared(classifier: Classifier, item: Item) -> np.ndarray | Failure:
    try:
        if isinstance(item.picture, InputError):
            raise item.picture
        return classifier.preprocess.prepare(item.picture, item.name)
    except InputError as error:
        if not item.is_file:
            raise
        return Failure(item.path or item.name, reason(item, error))
