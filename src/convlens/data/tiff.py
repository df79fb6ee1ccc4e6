"""libtiff writes what it finds wrong with a picture to stderr by itself, where Pillow raises an error anyway."""

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from functools import cache

from PIL import _imaging

_lock = threading.Lock()
_inside = 0
_before: list[int | None] = []


@contextlib.contextmanager
def quiet_libtiff() -> Iterator[None]:
    """While anybody is inside, libtiff writes nothing; afterwards its messages go where they went before."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = [put(None) for put in _setters()]
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                for put, handler in zip(_setters(), _before, strict=True):
                    put(handler)


@cache
def _setters() -> tuple[Callable[[int | None], int | None], ...]:
    """libtiff's functions that set where errors and warnings go and return the place before; none where not found.

    The library is found as one that Pillow is linked with. Linked into it, as on Windows, it cannot be reached.
    """
    try:
        library = ctypes.CDLL(_imaging.__file__)
        found = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
    except (OSError, AttributeError):
        return ()
    for function in found:
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
    return found
