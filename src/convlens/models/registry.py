"""The registry: what each network is called, where it comes from, and how to build it at another size."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convlens.base.errors import InputError, nearest, out_of_memory
from convlens.models.network import shapes_only

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
    known = inspect.signature(entry.build).parameters
    for key in arguments:
        if key not in known:
            raise InputError(f"network {name!r} has no argument {key!r}{nearest(key, known)}")
    size = entry.input[1:] if image_size is None else image_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    if len(size) != 2 and image_size is not None:
        raise InputError(f"network {name!r}: image_size is a side or (height, width), not {image_size!r}")
    channels = entry.input[0] if in_channels is None else in_channels
    classes = entry.num_classes if num_classes is None else num_classes
    for what, value in (("num_classes", classes), ("in_channels", channels), *(("image_size", side) for side in size)):
        if value < 1:
            raise InputError(f"network {name!r}: {what} must be at least 1, not {value}")

    arguments = {key: _tuples(value) for key, value in arguments.items()}
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())

    def build(size: tuple[int, ...]) -> nn.Module:
        try:
            return entry.build(
                num_classes=classes, in_channels=channels, image_size=size, **{**entry.arguments, **arguments}
            )
        except (KeyError, TypeError, AttributeError, IndexError, ArithmeticError, AssertionError) as error:
            if not arguments:
                raise
            raise InputError(f"network {name!r} cannot be built with {given}: {_said(error)}") from error

    def shapes(size: tuple[int, ...]) -> nn.Module:
        with shapes_only():
            return build(size)

    image = len(entry.input) == 3  # otherwise the input is a vector, and the size that of an image which is made
    probe = (lambda size: (channels, *size)) if image else (lambda size: (channels,))
    smaller = any(side < default for side, default in zip(size, entry.input[1:], strict=False))
    on_meta = torch.get_default_device().type == "meta"
    if smaller or on_meta:
        network = _fitting(name, shapes, probe, size, check=smaller, given=given)
        if on_meta:
            return network
    try:
        return build(size)
    except (ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        if out_of_memory(error):
            raise InputError(f"network {name!r} of this size does not fit into memory") from error
        _fitting(name, shapes, probe, size, check=smaller, given=given)  # says which size it works on
        raise


def _said(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return f"unknown value {said}" if isinstance(error, KeyError) else said


def _tuples(value: Any) -> Any:
    """Lists, such as those of a recipe, as the tuples that the networks of the zoo take."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fitting(
    name: str,
    build: Callable[..., Any],
    probe: Callable[..., Any],
    size: tuple[int, ...],
    *,
    check: bool,
    given: str,
) -> Any:
    """The network at that size; where it does not fit, an `InputError` with the smallest square that does.

    given: the arguments that the caller gave, for messages: they are to blame where no size fits.
    """

    def attempt(size: tuple[int, ...]) -> Any:
        network = build(size)
        if check:
            training = network.training
            network.eval()(torch.empty(1, *probe(size), device="meta"))
            network.train(training)
        return network

    try:
        return attempt(size)
    except (ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        side = _smallest(attempt)
        if side is None:
            if not given:
                raise
            raise InputError(f"network {name!r} cannot be built with {given}: {_said(error)}") from error
        text = "x".join(map(str, size))
        reason = "" if min(size) < side else f"{error}; "
        raise InputError(
            f"network {name!r} does not work on images of {text} pixels (height x width): "
            f"{reason}the smallest square that it works on is {side}x{side}"
        ) from None


def _smallest(attempt: Callable[[tuple[int, int]], Any]) -> int | None:
    """The smallest side of a square on which `attempt` does not fail, by doubling and then halving the gap."""

    def works(side: int) -> bool:
        try:
            attempt((side, side))
        except (ValueError, RuntimeError):
            return False
        return True

    high = next((2**i for i in range(10) if works(2**i)), None)
    if high is None:
        return None
    low = high // 2  # does not work, or is 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def describe(entry: ModelEntry) -> dict[str, Any]:
    """An entry as plain data, for JSON and tables."""
    return {
        "name": entry.name,
        "family": entry.family,
        "year": entry.year,
        "parameters": entry.parameters,
        "input_size": list(entry.input),
        "num_classes": entry.num_classes,
        "aliases": list(entry.aliases),
        "paper": {"authors": entry.paper.authors, "year": entry.paper.year, "title": entry.paper.title},
        "differences": list(entry.differences),
        "errors": entry.errors or {},
    }
