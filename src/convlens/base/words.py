"""How amounts and values are written for people: one rule for screens, messages and pages."""

from typing import Any

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


def short(value: Any) -> str:
    """A value as it may stand in a line: as Python writes it, cut off after 80 characters."""
    try:
        words = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        words = f"a {type(value).__name__}"
    return words if len(words) <= 80 else f"{words[:77]}..."
