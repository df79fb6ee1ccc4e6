"""What a network is, in words: its paper, its stages, how it deviates."""

import inspect
from typing import Any

from torch import nn

from convlens.base.errors import InputError
from convlens.models.network import Network, count_parameters, shapes_only
from convlens.models.registry import ModelEntry, create, get, names


def describe(what: Any) -> str:
    """A text about a network: what it is, paper, input, parameters, stages, differences, other forms.

    what: a name of the zoo ("lenet5"), an entry, one of its functions (`models.lenet5`), a class (`models.LeNet5`), or
        a network, of the zoo or one's own.

    Raises:
        InputError: an unknown name, with the nearest, or something that is no network.
    """
    if isinstance(what, ModelEntry):
        return _entry(what)
    if isinstance(what, str):
        return _entry(get(what))
    if isinstance(what, nn.Module):
        return _module(what)
    if isinstance(what, type) and issubclass(what, nn.Module):
        return "\n".join([_about(what), *_built(what)])
    if inspect.isfunction(what) and what.__name__ in names():
        return _entry(get(what.__name__))
    raise InputError(f"describe takes a name of the zoo, a class of networks or a network, not {what!r}")


def _entry(entry: ModelEntry) -> str:
    with shapes_only():
        network = create(entry.name)
    called = f"{entry.name} (also {', '.join(entry.aliases)})" if entry.aliases else entry.name
    lines = [
        f"{called}: {_first(entry.build.__doc__)}",
        _about(entry.network),
        f"paper: {entry.paper.authors}, {entry.paper.title}, {entry.paper.year}",
        f"input: {_size(entry.input)}, {entry.num_classes} {'output' if entry.num_classes == 1 else 'outputs'}",
        f"parameters: {entry.parameters:,}",
        *_stages(network),
        *(f"differs: {line}" for line in entry.differences),
        *(f"published error, {task}: {error:g} %" for task, error in (entry.errors or {}).items()),
    ]
    if entry.textbook:
        lines.append("a form of a textbook, not of the paper")
    return "\n".join(lines)


def _module(network: nn.Module) -> str:
    """An existing network: its own numbers, and the entry that it was made from."""
    lines = [_about(type(network)), f"parameters: {count_parameters(network):,}", *_stages(network)]
    if isinstance(network, Network) and network.zoo_name is not None:
        entry = get(network.zoo_name)
        lines.insert(0, f"made as {entry.name}: {_first(entry.build.__doc__)}")
        lines.insert(2, f"paper: {entry.paper.authors}, {entry.paper.title}, {entry.paper.year}")
        lines += [f"differs: {line}" for line in entry.differences]
    return "\n".join(lines)


def _about(kind: type[nn.Module]) -> str:
    # the docstring of a class without one is that of a class that it inherits from
    return f"{kind.__name__}: {_first(kind.__dict__.get('__doc__')) or 'a torch.nn.Module'}"


def _built(kind: type[nn.Module]) -> list[str]:
    found = [name for name in names() if get(name).network is kind]
    return [f"in the zoo: {', '.join(found)}"] if found else []


def _stages(network: nn.Module) -> list[str]:
    if not isinstance(network, Network):
        return []
    lines = ["stages:"]
    for name, (path, channels, stride) in network.stages.items():
        cells = "" if stride is None else f", a cell every {stride} pixels" if stride > 1 else ", a cell for each pixel"
        lines.append(f"  {name}: {_channels(channels)}{cells} ({path})")
    return lines


def _size(shape: tuple[int, ...]) -> str:
    channels, *size = shape
    return f"{_channels(channels)} of {'x'.join(map(str, size))} pixels" if size else f"a vector of {channels} numbers"


def _channels(n: int) -> str:
    return "1 channel" if n == 1 else f"{n} channels"


def _first(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
