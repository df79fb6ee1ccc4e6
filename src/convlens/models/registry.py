"""The registry: what each network is called, and where it comes from."""

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from torch import nn

from convlens.base.errors import InputError, nearest
from convlens.models.network import Network
from convlens.models.sizes import built, said

P = ParamSpec("P")
N = TypeVar("N", bound=nn.Module)
Size = int | tuple[int, int]


class Paper(NamedTuple):
    """Where a network comes from."""

    authors: str
    year: int
    title: str


@dataclass(frozen=True)
class ModelEntry:
    """One network of the zoo.

    Attributes:
        name: the name given to `create`; that of its function, as in `models.resnet50`.
        family: the file of `convlens.models` (or of its `textbooks`) that it stands in.
        build: the function itself: `build(num_classes=, in_channels=, **arguments) -> nn.Module`.
        parameters: trainable parameters with the default arguments, counted by hand or published.
        input: default input (C, H, W) of one image (or (F,) for networks on vectors).
        num_classes: default number of outputs.
        paper: its source.
        differences: how it deviates from the paper, one machine-readable sentence each; empty if it does not.
        errors: published error rates in per cent, such as {"imagenet top-1": 30.24}.
        aliases: other names for the same entry.
        textbook: whether it is a form, or a misprint, of a textbook, which a list of the zoo leaves out.
    """

    name: str
    family: str
    build: Callable[..., nn.Module]
    parameters: int
    input: tuple[int, ...]
    num_classes: int
    paper: Paper
    differences: tuple[str, ...] = ()
    errors: dict[str, float] | None = None
    aliases: tuple[str, ...] = ()
    textbook: bool = False

    @property
    def year(self) -> int:
        return self.paper.year

    @property
    def network(self) -> type[nn.Module]:
        """The class of the network."""
        return typing.get_type_hints(self.build)["return"]

    @functools.cached_property
    def arguments(self) -> tuple[str, ...]:
        """What the network can be given by keyword: by its function, and by its class where that hands the rest on."""
        own = inspect.signature(self.build).parameters.values()
        known = [p.name for p in own if p.kind is not p.VAR_KEYWORD]
        if len(known) < len(own):
            known += inspect.signature(self.network).parameters
        return tuple(dict.fromkeys(known))

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON and tables."""
        return {
            "name": self.name,
            "family": self.family,
            "year": self.year,
            "parameters": self.parameters,
            "input_size": list(self.input),
            "num_classes": self.num_classes,
            "aliases": list(self.aliases),
            "paper": self.paper._asdict(),
            "differences": list(self.differences),
            "errors": self.errors or {},
            "textbook": self.textbook,
        }


_ENTRIES: dict[str, ModelEntry] = {}
_ALIASES: dict[str, str] = {}


def register(
    *,
    parameters: int,
    input: tuple[int, ...],
    paper: Paper,
    differences: tuple[str, ...] = (),
    errors: dict[str, float] | None = None,
    aliases: tuple[str, ...] = (),
) -> Callable[[Callable[P, N]], Callable[P, N]]:
    """A decorator: enters a function that builds a network under the function's name.

    The function takes `num_classes` with its default, `in_channels`, `image_size` if it needs it, what else the network
    can be given, and says by its return annotation which class it builds; other keywords (`**arguments`) are those of
    that class. Whoever calls it calls `create`, with its checks.

        @register(parameters=61_706, input=(1, 28, 28), paper=PAPER)
        def lenet5(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> LeNet5:
            return LeNet5(num_classes, in_channels, **arguments)
    """

    def enter(build: Callable[P, N]) -> Callable[P, N]:
        name, signature = build.__name__, inspect.signature(build)
        *above, family = build.__module__.split(".")
        entry = ModelEntry(
            name, family, build, parameters, input, signature.parameters["num_classes"].default, paper, differences,
            errors, aliases, "textbooks" in above,
        )  # fmt: skip
        for key in (name, *aliases):
            if key in _ENTRIES or key in _ALIASES:
                raise ValueError(f"two networks are called {key!r}")
        _ENTRIES[name] = entry
        _ALIASES.update(dict.fromkeys(aliases, name))

        @functools.wraps(build)
        def checked(*values: P.args, **arguments: P.kwargs) -> N:
            bound = signature.bind_partial(*values)  # `TypeError` as in any call with too many
            return typing.cast(N, create(name, **bound.arguments, **arguments))

        return checked

    return enter


def names(family: str | None = None, *, textbooks: bool = True) -> list[str]:
    """Names of all entries, or those of one family, the forms of textbooks behind the others; aliases are left out.

    textbooks: whether the forms and misprints of textbooks are among them.
    """
    listed = sorted(_ENTRIES.values(), key=lambda entry: (entry.family, entry.textbook))
    listed = (entry for entry in listed if family is None or entry.family == family)
    return [entry.name for entry in listed if textbooks or not entry.textbook]


def get(name: str) -> ModelEntry:
    """The entry of that name or alias. Raises `InputError` with the nearest name where there is none."""
    entry = _ENTRIES.get(_ALIASES.get(name, name))
    if entry is None:
        hint = nearest(name, [*_ENTRIES, *_ALIASES])
        raise InputError(f"unknown network {name!r}{hint} (`convlens models --all` lists them all)")
    return entry


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: Size | None = None,
    weights: str | Path | None = None,
    **arguments: Any,
) -> nn.Module:
    """Builds a network with freshly drawn weights (of PyTorch's generator: seed it to repeat them), or trained ones.

    Args:
        name: an entry of `names()`.
        num_classes: outputs; the entry's own number if left out.
        in_channels: channels of the input image; the entry's own if left out.
        image_size: side, or (height, width), in pixels; the entry's own if left out. A network that takes images of
            any size is built the same for each; one that is too small for it is an error all the same.
        weights: "imagenet" for the trained weights of `pretrained.PRETRAINED`; or a weights file or run folder. An
            output layer of another number of classes stays freshly drawn.
        arguments: anything else that the network takes, such as `dropout=0.2`.

    Raises:
        InputError: unknown name or argument, an image too small for the network's geometry, weights that are not here.
    """
    entry = get(name)
    for key in arguments:
        if key not in entry.arguments:
            raise InputError(f"network {name!r} has no argument {key!r}{nearest(key, entry.arguments)}")
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
    build = functools.partial(_build, entry, classes, channels, arguments, given)
    network = built(name, build, size, channels, entry.input, given)
    if weights is not None:
        from convlens.models import pretrained
        from convlens.models.weights import load_weights

        load_weights(network, pretrained.get(entry.name).require() if weights == "imagenet" else weights)
    return network


def _build(entry: ModelEntry, classes: int, channels: int, arguments: dict[str, Any], given: str, size: Any) -> Any:
    """The network itself: the size goes to those that ask for it. Whatever fails for an argument is an `InputError`."""
    sized = {"image_size": size} if size and "image_size" in entry.arguments else {}
    try:
        network = entry.build(num_classes=classes, in_channels=channels, **sized, **arguments)
    except (KeyError, TypeError, AttributeError, IndexError, ArithmeticError, AssertionError) as error:
        if not arguments:
            raise
        raise InputError(f"network {entry.name!r} cannot be built with {given}: {said(error)}") from error
    if isinstance(network, Network):
        network.zoo_name = entry.name
    return network


def _tuples(value: Any) -> Any:
    """Lists, such as those of a recipe, as the tuples that the networks of the zoo take."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
