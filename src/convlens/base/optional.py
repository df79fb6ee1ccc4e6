"""Libraries that an extra brings, and what they write that nobody needs."""

import contextlib
import importlib
import logging
from collections.abc import Iterator
from typing import Any

from convlens.base.errors import InputError


def required(module: str, extra: str, need: str = "") -> Any:
    """An optional library, imported. need: what it is for, in words.

    Raises `InputError` that says how to install it.
    """
    try:
        importlib.import_module(module.partition(".")[0])
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{need or f'this needs {module} ({error})'}: pip install 'convlens[{extra}]'") from None


@contextlib.contextmanager
def silenced(logger: str, below: int = logging.CRITICAL + 1) -> Iterator[None]:
    """Inside, nothing below a level (by default nothing at all) is logged under this name."""
    found = logging.getLogger(logger)
    before = found.level
    found.setLevel(below)
    try:
        yield
    finally:
        found.setLevel(before)
