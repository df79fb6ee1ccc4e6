"""Tables of what an argument may be."""

from collections.abc import Callable
from typing import Any, TypeVar

from convlens.base.errors import InputError, nearest

Value = TypeVar("Value")


class Choices(dict[str, Value]):
    """A dictionary whose keys are the values of an argument. Another key is an `InputError` that lists them."""

    def __init__(self, argument: str, values: dict[str, Value]):
        super().__init__(values)
        self.argument = argument

    def __missing__(self, key: object) -> Value:
        hint = nearest(key, self) if isinstance(key, str) else ""
        raise InputError(f"{self.argument}: unknown value {key!r}{hint}; known are {', '.join(map(repr, self))}")

    def named(self, value: str | Callable[..., Any]) -> Any:
        """The choice of that name; what is no name but can be called, such as a class of layers, is taken as it is."""
        if callable(value):
            return value
        return self[value] if isinstance(value, str) else self.__missing__(value)
