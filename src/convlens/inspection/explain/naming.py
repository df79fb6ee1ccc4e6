"""Names of files for what belongs to a picture."""

import re
from collections.abc import Sequence
from pathlib import PurePath


def stems(names: Sequence[str]) -> list[str]:
    """A file stem for each name, all different, of letters, digits, "-", "_" and "." only.

    >>> stems(["a/seven.png", "b/seven.png"])
    ['seven', 'seven-2']
    """
    found: list[str] = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "-", PurePath(name).stem).strip("-.")[:80] or "picture"
        unique, count = stem, 1
        while unique in found:
            count += 1
            unique = f"{stem}-{count}"
        found.append(unique)
    return found
