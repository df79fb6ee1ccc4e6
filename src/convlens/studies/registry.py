"""The studies by name. A new one is a function with `@register`, in a file here or in a user's own code."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from convlens.base.errors import InputError, nearest

if TYPE_CHECKING:
    from convlens.studies.findings import Findings

TEXTS = {
    "book": "chapter 10 of the TensorFlow 2 book",
    "slides": "the slides on tf.keras and CIFAR-10",
    "handbook": "the TensorFlow 2 handbook",
    "notes": "the course notes in PyTorch",
    "scratch": "chapter 5 of the book from scratch",
}
"""The five teaching texts, as `texts=("book 10.8",)` names them."""


class Options(BaseModel):
    """What `--set key=value` may change of a study. A study with options has a class of its own, with more fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Study:
    """One experiment of a teaching text.

    Attributes:
        name: what `convlens study` takes.
        title: the heading of its page.
        texts: where it comes from: a key of `TEXTS` and a section, as in "book 10.8".
        claims: what is claimed, a sentence for each key; a study judges each by its key.
        measures: what is measured, in one line.
        options: what can be set.
        function: does the work, `function(findings)`.
        about: the function's docstring, as the lesson's introduction.
    """

    name: str
    title: str
    texts: tuple[str, ...]
    claims: Mapping[str, str]
    measures: str
    options: type[Options]
    function: "Callable[[Findings], None]" = field(repr=False)

    @property
    def about(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def claim(self) -> str:
        """All claims, one after the other."""
        return " ".join(self.claims.values())

    @property
    def sections(self) -> list[str]:
        """Where it comes from, in words."""
        return [f"{TEXTS[text]}, {section}" for text, _, section in (one.partition(" ") for one in self.texts)]


STUDIES: dict[str, Study] = {}


def register(
    name: str,
    *,
    title: str,
    texts: tuple[str, ...],
    claims: Mapping[str, str],
    measures: str,
    options: type[Options] = Options,
) -> "Callable[[Callable[[Findings], None]], Callable[[Findings], None]]":
    """Enters a study `function(findings)`; see `Study` for the arguments.

    Raises:
        InputError: a name that is taken, a text that is none of `TEXTS`, no claim.
    """
    if name in STUDIES:
        raise InputError(f"there is a study {name!r} already")
    if not claims:
        raise InputError(f"study {name!r}: claims is empty; a study says what it is to show")
    for one in texts:
        if (text := one.partition(" ")[0]) not in TEXTS:
            raise InputError(f"study {name!r}: unknown text {text!r}{nearest(text, TEXTS)} (known: {', '.join(TEXTS)})")

    def enter(function: "Callable[[Findings], None]") -> "Callable[[Findings], None]":
        STUDIES[name] = Study(name, title, texts, dict(claims), measures, options, function)
        return function

    return enter


def find(name: str) -> Study:
    """The study of that name. Raises `InputError` that names the nearest for any other."""
    if name not in STUDIES:
        raise InputError(f"there is no study {name!r}{nearest(name, STUDIES)} (`convlens study` lists all)")
    return STUDIES[name]
