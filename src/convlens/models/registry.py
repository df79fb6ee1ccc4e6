"""The registry: what each network is called, where it comes from, and how to build it at another size."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from convlens.base.errors import InputError, nearest

Size = int | tuple[int, int]


@dataclass(frozen=True)
class Paper:
    """Where a network comes from."""

    authors: str
    year: int
    title: str


@dataclass(frozen=True)
class ModelEntry:
    """One network of the zoo.

    Attributes:
        name: the name given to `create`.
        family: the file of `convlens.models` that it stands in.
        build: `build(num_classes=, in_channels=, image_size=(H, W), **arguments) -> nn.Module`.
        arguments: what this variant passes to `build` besides.
        parameters: trainable parameters with the default arguments, counted by hand or published.
        input: default input (C, H, W) of one image (or (F,) for networks on vectors).
        num_classes: default number of outputs.
        paper: its source.
        differences: how it deviates from the paper, one machine-readable sentence each; empty if it does not.
        errors: published error rates in per cent, such as {"imagenet top-1": 30.24}.
        aliases: other names for the same entry.
    """

    name: str
    family: str
    build: Callable[..., nn.Module]
    arguments: dict[str, Any]
    parameters: int
    input: tuple[int, ...]
    num_classes: int
    paper: Paper
    differences: tuple[str, ...] = ()
    errors: dict[str, float] | None = None
    aliases: tuple[str, ...] = ()

    @property
    def year(self) -> int:
        return self.paper.year


_ENTRIES: dict[str, ModelEntry] = {}
_ALIASES: dict[str, str] = {}


def register(
    build: Callable[..., nn.Module],
    name: str,
    *,
    parameters: int,
    input: tuple[int, ...],
    num_classes: int,
    paper: Paper,
    differences: tuple[str, ...] = (),
    errors: dict[str, float] | None = None,
    aliases: tuple[str, ...] = (),
    **arguments: Any,
) -> None:
    """Enters a network. The family is the name of the module that `build` stands in."""
    family = build.__module__.rsplit(".", 1)[-1]
    entry = ModelEntry(
        name, family, build, arguments, parameters, input, num_classes, paper, differences, errors, aliases
    )
    for key in (name, *aliases):
        if key in _ENTRIES or key in _ALIASES:
            raise ValueError(f"two networks are called {key!r}")
    _ENTRIES[name] = entry
    _ALIASES.update(dict.fromkeys(aliases, name))


def names(family: str | None = None) -> list[str]:
    """Names of all entries (aliases left out), in order of registration, or those of one family."""
    return [name for name, entry in _ENTRIES.items() if family is None or entry.family == family]


def get(name: str) -> ModelEntry:
    """The entry of that name or alias. Raises `InputError` with the nearest name where there is none."""
    entry = _ENTRIES.get(_ALIASES.get(name, name))
    if entry is None:
        hint = nearest(name, [*_ENTRIES, *_ALIASES])
        raise InputError(f"unknown network {name!r}{hint} (`convlens models` lists them all)")
    return entry


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: Size | None = None,
    **arguments: Any,
) -> nn.Module:
    """Builds a network with freshly drawn weights (from PyTorch's generator: seed it for a repeatable start).

    Args:
        name: an entry of `names()`.
        num_classes: outputs; the entry's own number if left out.
        in_channels: channels of the input image; the entry's own if left out.
        image_size: side, or (height, width), in pixels; the entry's own if left out.
        arguments: anything else that the network's builder takes, such as `dropout=0.2`.

    Raises:
        InputError: unknown name or argument, or an image too small for the network's geometry.
    """
    entry = get(name)
    size = image_size if image_size is not None else entry.input[1:]
    known = inspect.signature(entry.build).parameters
    for key in arguments:
        if key not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise InputError(f"network {name!r} has no argument {key!r}{nearest(key, known)}")
    return entry.build(
        num_classes=entry.num_classes if num_classes is None else num_classes,
        in_channels=entry.input[0] if in_channels is None else in_channels,
        image_size=(size, size) if isinstance(size, int) else tuple(size),
        **{**entry.arguments, **arguments},
    )
