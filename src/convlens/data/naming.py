"""Names of files and classes: natural order, printable forms."""

import re


def natural(name: str) -> tuple:
    """A sort key that reads digits as numbers: "2" before "10", "fold9" before "fold10".

    Total: names with equal keys in another spelling ("7" and "07") are told apart by their text.
    """
    parts = re.split(r"([0-9]+)", name)
    key = tuple((0, int(part), "") if number % 2 else (1, 0, part.casefold()) for number, part in enumerate(parts))
    return key, name


def printable(name: str) -> str:
    """The name as it can be shown on one line anywhere: control characters and undecodable bytes escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)
