"""Stopping a run from outside: the first signal finishes the step and saves, the second stops at once."""

import signal
import threading
from types import FrameType
from typing import Any


class Stop:
    """While the block runs, SIGINT and SIGTERM only set `signum`; a second signal acts as it would have without us.

    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._received)
        return self

    def _received(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def __exit__(self, *_: object) -> None:
        self._restore()
