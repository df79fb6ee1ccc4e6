"""Tables of what an argument may be."""

from typing import TypeVar

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
