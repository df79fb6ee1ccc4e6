"""Memory of a training step: every step asks for arrays of the same sizes that the one before has given back."""

import ctypes
import sys
from functools import cache

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
