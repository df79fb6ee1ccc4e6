"""Files for other programs, by the name of their form: written, checked against the classifier, then put in place.

A form of one's own:

>>> register("labels", write=write, check=check, file="labels.txt", about="the classes")  # doctest: +SKIP
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convlens.base.errors import InputError, nearest

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier

Write = Callable[["Classifier", Path], object]
Check = Callable[["Classifier", Path], float]


class Exporter(NamedTuple):
    """One form of files.

    write: `write(classifier, path)` writes the file.
    check: `check(classifier, path)` reads it back as its users will, and returns the largest difference of a number in
        it from what the classifier has or gives. Raises `InputError` or `AssertionError` where the file is of no use.
    file: what the file is called in a run folder. about: one line for people.
    """

    name: str
    write: Write
    check: Check
    file: str
    about: str


class Exported(NamedTuple):
    """A file that was written and checked. max_error: what its `check` returned."""

    path: Path
    max_error: float


_EXPORTERS: dict[str, Exporter] = {}


def register(name: str, *, write: Write, check: Check, file: str, about: str) -> None:
    """Enters a form of files; one of the same name is replaced."""
    _EXPORTERS[name] = Exporter(name, write, check, file, about)


def exporters() -> dict[str, Exporter]:
    """All of them, by name."""
    return dict(_EXPORTERS)


def find(name: str) -> Exporter:
    """The exporter of that name. Raises `InputError` with the nearest name where there is none."""
    if name not in _EXPORTERS:
        raise InputError(f"unknown format {name!r}{nearest(name, _EXPORTERS)}; known: {', '.join(_EXPORTERS)}")
    return _EXPORTERS[name]


def export(classifier: "Classifier", name: str, path: Path | str) -> Exported:
    """Writes a classifier in the form `name`, and checks it. `path` is replaced only by a file that passed its check.

    Raises:
        InputError: no such form, a check that failed, a disk that cannot be written to.
    """
    from convlens.base import files  # the names alone are for --help

    exporter, path = find(name), Path(path)
    files.make_folder(path.parent)
    with files.draft(path) as draft:
        exporter.write(classifier, draft)
        try:
            max_error = exporter.check(classifier, draft)
        except (InputError, AssertionError) as error:
            why = " ".join(str(error).split()) or "it did not pass its check"
            raise InputError(f"{path} was not written: {why}") from error
        if not 0 <= max_error < math.inf:
            raise InputError(f"{path} was not written: read back, its numbers differ by {max_error}")
    return Exported(path, max_error)


def _write_text(classifier: "Classifier", path: Path) -> None:
    from convlens.deploy import text  # with NumPy, which takes a while; the names alone are for --help

    text.write(classifier, path)


def _check_text(classifier: "Classifier", path: Path) -> float:
    from convlens.deploy import text

    return text.check(classifier, path)


register(
    "text", write=_write_text, check=_check_text, file="weights.txt", about="name, shape and values of every array"
)
