"""Classes read from file names: `cat.1.jpg`, `cat_001.jpg`, `cat-1.jpg`, `cat (1).jpg`, `001_cat.jpg`."""

import posixpath
import re
from collections import Counter

_BEFORE = re.compile(r"^(?P<name>.*[^\W\d_].*?)[\s._-]*[(\[]?\d+[)\]]?$")
_AFTER = re.compile(r"^[(\[]?\d+[)\]]?[\s._-]+(?P<name>[^\W\d_].*)$")
_NO_CLASS = frozenset(
    """
    img image images pic picture photo dsc dscn dscf dscd pxl mvimg vid cam camera frame scan screenshot file sample
    untitled download whatsapp image-wa p r s c g
    """.split()  # noqa: SIM905
)
"""What cameras and programs call any picture."""


def classes_of(paths: list[str]) -> dict[str, str] | None:
    """path -> class, where all names are of one form and give two or more classes, twice as many pictures at least.

    None where they do not, also where the words are those that cameras write before a number.
    """
    stems = {path: posixpath.splitext(posixpath.basename(path))[0].strip() for path in paths}
    for form in (_BEFORE, _AFTER):
        matches = {path: form.match(stem) for path, stem in stems.items()}
        if not all(matches.values()):
            continue
        found = {path: match["name"].rstrip(" ._-([") for path, match in matches.items() if match}
        counts = Counter(found.values())
        usual = all(name and re.split(r"[\s._-]", name.lower())[0] not in _NO_CLASS for name in counts)
        if usual and len(counts) > 1 and len(found) >= 2 * len(counts):
            return found
    return None


def class_of(path: str, classes: set[str]) -> str | None:
    """The class of one more picture among those known, if its name says one."""
    stem = posixpath.splitext(posixpath.basename(path))[0].strip()
    names = (match["name"].rstrip(" ._-([") for form in (_BEFORE, _AFTER) if (match := form.match(stem)))
    return next((name for name in names if name in classes), None)
