"""How amounts and values are written for people: one rule for screens, messages and pages."""

import math
import re
from typing import Any

from convlens.base.errors import InputError

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def bytes_text(n: float | None) -> str:
    """Bytes in decimal units, one decimal: '512 B', '3.8 GB'. 'unknown' where there is no figure."""
    if n is None:
        return "unknown"
    if round(n) < 1000:
        return f"{n:.0f} B"
    value = n / 1000
    for unit in _UNITS[:-1]:
        if value < 999.95:  # what would be written as 1000.0 takes the next unit
            return f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} {_UNITS[-1]}"


_BYTES = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([kmgtp]?)(i?)b?", re.IGNORECASE)


def parse_bytes(name: str, text: str) -> int:
    """What `bytes_text` writes, and its like: "256MB", "1.5 GB", "2GiB" (1024s), "4096".

    Raises `InputError` that names the setting, for anything else and for less than a byte.
    """
    found = _BYTES.fullmatch(str(text).strip())
    power = "_kmgtp".index(found[2].lower() or "_") if found else 0
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** power) if found else 0
    if size < 1:
        raise InputError(f"{name}: expected bytes, as in 256MB, 1.5GB or 2GiB; not {str(text)[:40]!r}")
    return size


def percent(value: float | None, digits: int | None = 2) -> str:
    """A fraction as per cent: '97.31 %', with `digits` decimals or (None) as many as needed. A dash for none or NaN."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.4g} %" if digits is None else f"{100 * value:.{digits}f} %"


def duration(seconds: float, digits: int = 0) -> str:
    """Seconds for people: '8 s', '2 min 05 s', '3 h 07 min'; under a minute with so many decimals: '8.3 s'."""
    if digits and 0 <= seconds < 60 - 0.5 * 10**-digits:
        return f"{seconds:.{digits}f} s"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def short(value: Any) -> str:
    """A value as it may stand in a line: as Python writes it, cut off after 80 characters."""
    try:
        words = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        words = f"a {type(value).__name__}"
    return words if len(words) <= 80 else f"{words[:77]}..."
