"""Which of two implementations runs: the plain one, made to be read, or its drop-in from `ops.fast`."""

import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

drop_ins: ContextVar[Mapping[str, Callable]] = ContextVar("drop_ins", default=MappingProxyType({}))
"""By the name of the operation; none outside of `with ops.fast()`."""


def replaceable(plain: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The operation itself, or within `with ops.fast()` its drop-in. `inspect.unwrap` gives the plain one."""

    @functools.wraps(plain)
    def operation(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return drop_ins.get().get(plain.__name__, plain)(*args, **kwargs)

    return operation
