"""JSON from files that a stranger may have written: what JSON is, and nothing that would trip a reader later."""

import json
import math
from typing import Any

from convlens.base.errors import InputError
from convlens.base.screen import printable

_DEPTH = 50  # lists and objects within each other
_LARGEST = 1 << 63  # whole numbers, above or below zero: what other readers of JSON can hold


def loads(text: str, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        InputError: no JSON, a key that occurs twice, NaN or infinity, whole numbers of 2^63 and more, text that is no
            Unicode, or more than 50 levels. The message names `where` in one line.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
        _check(value)
    except RecursionError:
        raise InputError(f"{where} is no JSON of ours: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where} is not valid JSON: {printable(str(error))[:300]}") from None
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _check(value: Any) -> None:
    level = [value]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                item.encode()  # half a character is a UnicodeEncodeError, which is a ValueError
            elif item is not None and not abs(item) < (_LARGEST if isinstance(item, int) else math.inf):
                raise ValueError("a number is too large")
        if not below:
            return
        level = below
    raise ValueError("it is nested too deeply")
