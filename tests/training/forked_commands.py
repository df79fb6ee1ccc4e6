"""Runs `convlens` commands in forked children that can be killed at a chosen moment. A program of its own.

PyTorch is imported once; each command then costs only its own work. One JSON object per line on stdin:
`{"argv": [...], "kill_at": 17}` kills the child with SIGKILL at its 17th write, fsync or rename (a write is cut in
half first); `"kill_after": 0.8` kills it after that many seconds; `"stop_at"` sends SIGTERM instead. One JSON object
a line on stdout: `{"code": exit code or minus the signal, "operations": count of writes, fsyncs and renames,
"seconds": what it took}`.
"""

import json
import os
import signal
import sys
import threading
import time

from convlens import api  # noqa: F401  (imports PyTorch; computes nothing, so forking is safe)
from convlens.base import files
from convlens.cli import main


class FaultyOs:
    """The `os` module as `convlens.base.files` sees it, counting what touches the disk."""

    def __init__(self, kill_at: int | None, stop_at: int | None):
        self.kill_at, self.stop_at, self.count = kill_at, stop_at, 0

    def __getattr__(self, name: str):
        return getattr(os, name)

    def _now(self) -> bool:
        self.count += 1
        if self.count == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.count == self.kill_at

    def write(self, handle: int, data: memoryview) -> int:
        if self._now():
            os.write(handle, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return os.write(handle, data)

    def fsync(self, handle: int) -> None:
        """Counted, not done: a killed process loses nothing that it wrote, and the disk is spared."""
        if self._now():
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(self, source, target) -> None:
        if self._now():
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace(source, target)


def child(order: dict, report: int) -> None:
    faulty = files.os = FaultyOs(order.get("kill_at"), order.get("stop_at"))
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["convlens", *order["argv"]]
    code = 0
    try:
        main()
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 1
    finally:
        os.write(report, str(faulty.count).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            child(order, writing)
        os.close(writing)
        timer = None
        if order.get("kill_after") is not None:
            timer = threading.Timer(order["kill_after"], os.kill, (pid, signal.SIGKILL))
            timer.start()
        began = time.perf_counter()
        _, status = os.waitpid(pid, 0)
        if timer is not None:
            timer.cancel()
            timer.join()
        counted = os.read(reading, 100)
        os.close(reading)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "operations": int(counted or 0),
            "seconds": time.perf_counter() - began,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
