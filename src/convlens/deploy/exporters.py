"""Files for other programs, by the name of their form: written, checked against the classifier, then put in place.

A form of one's own:

>>> register("labels", write=write, check=check, file="labels.txt", about="the classes")  # doctest: +SKIP
"""

import importlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convlens.base.errors import InputError, nearest

if TYPE_CHECKING:
    from convlens.classify.classifier import Classifier

Write = Callable[..., object]
Check = Callable[..., float]


class Exporter(NamedTuple):
    """One form of files.

    write: `write(classifier, path)` writes the file.
    check: `check(classifier, path)` reads it back as its users will, and returns the largest difference of a number in
        it from what the classifier has or gives. Raises `InputError` or `AssertionError` where the file is of no use.
    file: what the file is called in a run folder. about: one line for people.
    takes: names of settings; `write` and `check` are given those that were set, by keyword. A run brings by itself
        "images", prepared pixels uint8 [N, H, W, C] of its test part, and "parts", its `Splits`, where "int8" is set.
    """

    name: str
    write: Write
    check: Check
    file: str
    about: str
    takes: tuple[str, ...] = ()


class Exported(NamedTuple):
    """A file that was written and checked. max_error: what its `check` returned."""

    path: Path
    max_error: float


_EXPORTERS: dict[str, Exporter] = {}


def register(name: str, *, write: Write, check: Check, file: str, about: str, takes: tuple[str, ...] = ()) -> None:
    """Enters a form of files; one of the same name is replaced. The arguments: see `Exporter`."""
    _EXPORTERS[name] = Exporter(name, write, check, file, about, takes)


def exporters() -> dict[str, Exporter]:
    """All of them, by name."""
    return dict(_EXPORTERS)


def find(name: str) -> Exporter:
    """The exporter of that name. Raises `InputError` with the nearest name where there is none."""
    if name not in _EXPORTERS:
        raise InputError(f"unknown format {name!r}{nearest(name, _EXPORTERS)}; known: {', '.join(_EXPORTERS)}")
    return _EXPORTERS[name]


def export(classifier: "Classifier", name: str, path: Path | str, **settings: Any) -> Exported:
    """Writes a classifier in the form `name`, and checks it. `path` is replaced only by a file that passed its check.

    settings: see `Exporter.takes`.

    Raises:
        InputError: no such form, or a setting that it does not take; a check that failed, a disk that cannot be
            written to.
    """
    from convlens.base import files  # the names alone are for --help

    exporter, path = find(name), Path(path)
    refuse_unknown(exporter, settings)
    files.make_folder(path.parent)
    with files.draft(path) as draft:
        exporter.write(classifier, draft, **settings)
        try:
            max_error = exporter.check(classifier, draft, **settings)
        except (InputError, AssertionError) as error:
            why = " ".join(str(error).split()) or "it did not pass its check"
            raise InputError(f"{path} was not written: {why}") from error
        if not 0 <= max_error < math.inf:
            raise InputError(f"{path} was not written: read back, its numbers differ by {max_error}")
    return Exported(path, max_error)


def refuse_unknown(exporter: Exporter, settings: Iterable[str]) -> None:
    """Raises `InputError` where a setting is none of the exporter's."""
    for setting in settings:
        if setting not in exporter.takes:
            able = ", ".join(name for name, other in _EXPORTERS.items() if setting in other.takes)
            which = f"; it is for {able}" if able else ""
            raise InputError(f"the format {exporter.name!r} does not take {setting.replace('_', '-')!r}{which}")


def _later(module: str, function: str) -> Callable[..., Any]:
    """A function that is imported when it is called: the names of the forms alone are for --help."""

    def call(*arguments: Any, **settings: Any) -> Any:
        return getattr(importlib.import_module(f"convlens.deploy.{module}"), function)(*arguments, **settings)

    return call


def _ours(name: str, module: str, **rest: Any) -> None:
    register(name, write=_later(module, "write"), check=_later(module, "check"), **rest)


_ours("text", "text", file="weights.txt", about="name, shape and values of every array")
_ours(
    "safetensors", "weights", file="exported.safetensors", about="every array by its name, as other libraries load it"
)
_ours(
    "program",
    "program",
    file="model.pt2",
    about="for torch.export.load: PyTorch runs it without the network's code",
    takes=("images", "with_preprocessing"),
)
_ours(
    "onnx",
    "onnx_export",
    file="model.onnx",
    about="one file for ONNX Runtime, with classes and preprocessing in it",
    takes=("images", "parts", "with_preprocessing", "int8", "vnni_only", "limit"),
)
