"""A line of JSON for each request, on stderr, that nobody waits for."""

import json
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any

_MOST = 10_000  # lines that may wait for a stderr that is slow


class Log:
    """Writes lines in a thread of its own. A stderr that is full, closed or slow costs lines, never requests.

    lost: how many lines could not be written.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._lines: deque[str] = deque()
        self._there = threading.Semaphore(0)
        threading.Thread(target=self._work, name="convlens log", daemon=True).start()

    def write(self, event: str, **facts: Any) -> None:
        """event: what happened, in a word or two. facts: as JSON has them."""
        if len(self._lines) >= _MOST:
            self.lost += 1
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._lines.append(
            json.dumps({"time": now, "event": event, **facts}) + "\n"
        )  # ASCII: no line breaks, no escapes
        self._there.release()

    def close(self, seconds: float = 1.0) -> None:
        """Waits for what has not been written, but not for long."""
        done = threading.Event()
        self._lines.append("")
        self._done = done
        self._there.release()
        done.wait(seconds)

    def _work(self) -> None:
        while True:
            self._there.acquire()
            line = self._lines.popleft()
            if not line:
                self._done.set()
                return
            try:
                sys.stderr.write(line)
                sys.stderr.flush()
            except (OSError, ValueError, AttributeError):
                self.lost += 1
