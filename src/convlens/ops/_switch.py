"""Which of two implementations runs: the plain one, made to be read, or its drop-in from `ops.fast`."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

NONE: Mapping[str, Callable] = MappingProxyType({})
drop_ins: ContextVar[Mapping[str, Callable]] = ContextVar("drop_ins", default=NONE)
"""By the name of the operation; none outside of `with ops.fast()`."""


@contextmanager
def replaced(by: Mapping[str, Callable]) -> Iterator[None]:
    """Within this block these drop-ins run, and no others."""
    token = drop_ins.set(by)
    try:
        yield
    finally:
        drop_ins.reset(token)


def replaceable(plain: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The operation itself, or within `with ops.fast()` its drop-in. `inspect.unwrap` gives the plain one."""

    @functools.wraps(plain)
    def operation(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return drop_ins.get().get(plain.__name__, plain)(*args, **kwargs)

    return operation
