"""Many requests, one network: what waits when the worker is free goes through it together. No timer, no wait."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convlens.base.errors import InputError
from convlens.classify.classifier import Classifier, Prediction

AT_ONCE = 0.002
LARGEST = 64
"""Pictures of one batch, at most: beyond it, none of the forms gains anything on a processor."""

Result = Prediction | InputError


class QueueFullError(Exception):
    """More pictures wait than may."""


class ClosedError(Exception):
    """Another network has taken this one's place."""


class LateError(Exception):
    """A picture waited longer than its deadline."""


@dataclass(eq=False)
class Job:
    """The pictures of one request. waiting: how many have no result yet; `done` is told when it is none.

    pictures: each what `Preprocess.prepare` takes, or prepared already: uint8 [H, W, C].
    deadline: of `time.monotonic`.
    """

    pictures: Sequence[Any]
    top: int
    deadline: float
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[list[Result]]"
    results: list[Result | None] = field(default_factory=list)
    waiting: int = 0


class Batcher:
    """Runs a classifier on what waits, in a thread of its own; a fast one where the requests are, without any thread.

    A request of many pictures is split where it does not fit into a batch, and others come between its parts: pictures
    are taken in the order in which they came.

    on_batch: is told the number of pictures and the seconds of each batch.
    size: the largest batch. at_once: whether the largest takes less than `AT_ONCE` seconds, so that handing pictures
        over to a thread would take longer than the answer.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        queue: int,
        cost: float,
        on_batch: Callable[[int, float], None] = lambda n, seconds: None,
    ):
        self.classifier = classifier
        self.size, self.at_once = 1, False
        self._limit, self._cost, self._on_batch = queue, cost, on_batch
        self._waiting: deque[tuple[Job, int]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="convlens batches", daemon=True)

    def warm_up(self) -> None:
        """Runs each size of batch that will be used, so that no request pays for a first time, and starts the worker.

        Sizes are doubled for as long as a batch takes no longer than `cost`.
        """
        shape = (*self.classifier.preprocess.size, self.classifier.preprocess.channels)
        pixels = np.random.default_rng(0).integers(0, 256, (LARGEST, *shape), np.uint8)
        done = 0
        while True:
            for n in range(done + 1, self.size + 1):
                self.classifier.ranked(pixels[:n])
            done = self.size
            took = min(self._timed(pixels[: self.size]) for _ in range(3))
            if self.size == LARGEST or 2 * took > self._cost:
                break
            self.size *= 2
        self.at_once = took < AT_ONCE and not hasattr(self.classifier.network, "named_modules")  # which has a lock
        if not self.at_once:
            self._thread.start()

    def _timed(self, pixels: np.ndarray) -> float:
        started = time.perf_counter()
        self.classifier.ranked(pixels)
        return time.perf_counter() - started

    async def submit(self, pictures: Sequence[Any], top: int, deadline: float) -> list[Result]:
        """The answers, in order; an `InputError` for a picture that cannot be read.

        Raises:
            ClosedError: it takes no more; nothing of the request was kept.
            QueueFullError: so many pictures would wait that the last of them waits too long.
            LateError: the deadline passed before all pictures had their turn.
        """
        loop = asyncio.get_running_loop()
        job = Job(pictures, top, deadline, loop, loop.create_future(), [None] * len(pictures), len(pictures))
        with self._changed:
            if self._closed:
                raise ClosedError
            if self._waiting and len(self._waiting) + len(pictures) > self._limit:
                raise QueueFullError
            if self.at_once and not self._waiting:
                loop.call_soon(self._answer_waiting)
            self._waiting.extend((job, place) for place in range(len(pictures)))
            self._changed.notify()
        if self.at_once:
            return await job.done
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await job.done
        except TimeoutError:  # what still waits is left out when its turn comes
            raise LateError from None

    @property
    def depth(self) -> int:
        """Pictures that wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Takes nothing more, answers what waits, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _answer_waiting(self) -> None:
        """In the event loop: a batch of what its last round brought; the next one after others had their turn."""
        with self._changed:
            taken = [self._waiting.popleft() for _ in range(min(self.size, len(self._waiting)))]
            if self._waiting:
                taken[0][0].loop.call_soon(self._answer_waiting)
        self._answer(taken)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                taken = [self._waiting.popleft() for _ in range(min(self.size, len(self._waiting)))]
            self._answer(taken)

    def _answer(self, taken: list[tuple[Job, int]]) -> None:
        now = time.monotonic()
        good: list[tuple[Job, int]] = []
        pixels: list[np.ndarray] = []
        for job, place in taken:
            if job.done.done() or job.deadline < now:
                self._tell(job, LateError())
                continue
            try:
                pixels.append(self._prepared(job.pictures[place]))
                good.append((job, place))
            except InputError as error:
                job.results[place] = error
        if good:
            self._run(good, np.stack(pixels))
        for job, _ in taken:
            job.waiting -= 1
            if not job.waiting:
                self._tell(job, None)

    def _run(self, good: list[tuple[Job, int]], pixels: np.ndarray) -> None:
        started = time.perf_counter()
        try:
            found: Sequence[Any] = self.classifier.ranked(pixels, max(job.top for job, _ in good))
        except Exception as error:  # a fault, also one of memory, must not end the thread that all wait for
            for job, _ in good:
                self._tell(job, error)
            return
        self._on_batch(len(good), time.perf_counter() - started)
        for (job, place), one in zip(good, found, strict=True):
            job.results[place] = one if len(one.top) <= job.top else Prediction(*one.top[0], top=one.top[: job.top])

    def _tell(self, job: Job, error: Exception | None) -> None:
        (_tell if self.at_once else _later)(job, error)

    def _prepared(self, picture: Any) -> np.ndarray:
        if isinstance(picture, np.ndarray):
            return picture
        return self.classifier.preprocess.prepare(picture, "the picture")


def _later(job: Job, error: Exception | None) -> None:
    """Tells the request, in the thread of its event loop."""

    try:
        job.loop.call_soon_threadsafe(_tell, job, error)
    except RuntimeError:  # the loop has ended, and nobody waits
        return


def _tell(job: Job, error: Exception | None) -> None:
    if job.done.done():
        return
    if error is not None:
        job.done.set_exception(error)
    else:
        job.done.set_result([one for one in job.results if one is not None])
