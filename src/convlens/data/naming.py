"""Names of files and classes: natural order, printable forms."""

import re
import unicodedata
from collections.abc import Iterable

_DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple:
    """A sort key that reads digits as numbers: "2" before "10", "fold9" before "fold10".

    Total: names with equal keys in another spelling ("7" and "07") are told apart by their text.
    """
    parts: list = _DIGITS.split(name)
    # text and numbers alternate, text first (perhaps empty), so equal positions always have equal types
    parts[0::2] = [part.casefold() for part in parts[0::2]]
    numbers = [part.lstrip("0") for part in parts[1::2]]  # not int(): it refuses more than 4300 digits
    parts[1::2] = [(len(number), number) for number in numbers]
    return parts, name


def printable(name: str) -> str:
    """The name as it is kept in files: control characters, ends of lines and undecodable bytes escaped, all else as is.

    What a terminal can show is the matter of `base.screen`.
    """
    return "".join(
        c.encode("unicode_escape", "surrogatepass").decode() if _breaks(c) else c for c in read_as_utf8(name)
    )


def read_as_utf8(name: str) -> str:
    """The name of a file that Python, told that the system writes in ASCII, could not decode: as UTF-8, where it is."""
    if name.isascii():
        return name
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:  # written in neither
        return name


def _breaks(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def listed(names: Iterable[str], form: str = "{}/", most: int = 5, *, as_given: bool = False) -> str:
    """Names for a message: "a/, b/ and c/", after `most` of them only how many more there are.

    In natural order, or `as_given`.
    """
    shown = list(names) if as_given else sorted(names, key=natural)
    words = [form.format(printable(name)) for name in shown[:most]]
    if len(shown) > most:
        words.append(f"{len(shown) - most:,} more")
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
