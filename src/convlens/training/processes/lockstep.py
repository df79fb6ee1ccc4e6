"""Several passes through one network that wait for each other wherever they have something to add up."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from convlens.base.errors import InputError

_OTHER_WAYS = "the network takes other ways for other images: it cannot be trained in shards"


class _Cancelled(BaseException):
    """Another of the passes has failed."""


class Lockstep:
    """Runs `count` passes, each in a thread of its own, one at a time: the turn goes round at each meeting.

    One at a time, so that a pass has the processor to itself, as it has where each pass is in another process, and the
    order in which things happen is always the same. PyTorch's random state is a pass's own while it has the turn.
    The threads stay for the next run.
    """

    def __init__(self, count: int):
        self.count = count
        self._here = threading.local()
        self._changed = threading.Condition()
        self._turn = -1  # whose it is; -1: nobody's
        self._work: Sequence[Callable[[], Any]] = ()
        self._round = 0  # how many runs were begun
        self._within = 0  # how many passes are in their work
        self._met: list[Any] = []  # what the passes brought to the present meeting
        self._answer: Any = None
        self._found: list[Any] = []
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def run(self, work: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each of the `count` functions gives. Raises the first error of any."""
        if self.count == 1:
            return [work[0]()]
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._pass, args=(place,), name=f"convlens-shard-{place}", daemon=True)
                for place in range(self.count)
            ]
            for thread in self._threads:
                thread.start()
        with self._changed:
            self._work, self._found, self._met, self._error = work, [], [], None
            self._round, self._turn = self._round + 1, 0
            self._changed.notify_all()
            while self._turn >= 0 or self._within:
                self._changed.wait()
        if self._error is not None:
            raise self._error
        return self._found

    def meet(self, value: Any, together: Callable[[list[Any]], Any]) -> Any:
        """Called within a pass: waits until all passes are here. `together` is called once, with the values of all in
        order; each pass gets its answer."""
        if self.count == 1:
            return together([value])
        place = self._here.place
        self._met.append(value)
        if len(self._met) != place + 1:
            raise InputError(_OTHER_WAYS)
        if place == self.count - 1:
            self._answer, self._met = together(self._met), []
        state = torch.get_rng_state()
        self._pass_on(place)
        self._await_turn(place)
        torch.set_rng_state(state)
        return self._answer

    def _pass_on(self, place: int) -> None:
        with self._changed:
            self._turn = (place + 1) % self.count
            self._changed.notify_all()

    def _await_turn(self, place: int) -> None:
        with self._changed:
            while self._turn != place:
                if self._error is not None:
                    raise _Cancelled
                self._changed.wait()

    def _pass(self, place: int) -> None:
        """The life of a thread."""
        self._here.place = place
        done = 0
        while True:
            with self._changed:
                while self._round == done or self._turn != place:
                    self._changed.wait()
                done = self._round
                self._within += 1
            try:
                found = self._work[place]()
                with self._changed:
                    if self._met:
                        raise InputError(
                            "the network takes other ways for other images: it cannot be trained in shards"
                        )
                    self._found.append(found)
                    self._turn = place + 1 if place + 1 < self.count else -1
                    self._changed.notify_all()
            except _Cancelled:
                pass
            except BaseException as error:
                with self._changed:
                    self._error, self._turn = error, -1
            finally:
                with self._changed:
                    self._within -= 1
                    self._changed.notify_all()
