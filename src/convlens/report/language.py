"""The words of the page, from one table per language: `languages/en.toml`, `languages/zh.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from convlens.base.errors import InputError, nearest

_TABLES = Path(__file__).parent / "languages"
NAMES = ("en", "zh")


@dataclass(frozen=True, eq=False)
class Words:
    """The words of one language.

    code: of the language, for `<html lang>`.
    table: a text for each dotted key. Texts may hold fields of `str.format`, such as `{n:,}`.
    """

    code: str
    table: dict[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key, with values put in. Of a key with a second text for one (`key_one`), n=1 takes that."""
        if values.get("n") == 1 and f"{key}_one" in self.table:
            key = f"{key}_one"
        return self.table[key].format(**values)

    def said(self, section: str, stored: str) -> str:
        """A sentence that a run folder holds in English, in this language; as it stands if it is none of `section`."""
        for key, text in english().table.items():
            if key.startswith(f"{section}.") and text == stored:
                return self.table[key]
        return stored


@cache
def load(code: str) -> Words:
    """The words of a language. Raises `InputError` for one that there is no table of."""
    if code not in NAMES:
        raise InputError(f"unknown language {code!r}{nearest(code, NAMES)} (known: {', '.join(NAMES)})")
    return Words(code, dict(_flat(tomllib.loads((_TABLES / f"{code}.toml").read_text("utf-8")))))


def english() -> Words:
    return load("en")


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return rows
