"""Memory: what a process has had at most, and what a training step gives back and asks for again."""

import contextlib
import ctypes
import sys
from functools import cache
from pathlib import Path

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT, LARGEST = 256 << 20, 32 << 20  # bytes; no array above LARGEST is kept, the most that glibc allows


@cache
def keep_freed_memory() -> bool:
    """Asks the C library to keep up to 256 MiB of freed arrays for the next ones. Returns whether it could be asked.

    By default it hands them back to the system, which clears each page again when it is touched next: for a small
    network that takes as long as a third of a step. Only glibc (Linux) has this setting; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(TRIM_THRESHOLD, KEPT) and mallopt(MMAP_THRESHOLD, LARGEST))


def most_memory() -> int | None:
    """The most memory that this process has had in use, in bytes; None where the system does not tell (Windows)."""
    with contextlib.suppress(OSError, ValueError):  # Linux: the figure of getrusage is also the parent's
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
