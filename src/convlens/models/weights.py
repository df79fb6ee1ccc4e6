"""Weights of a file into a network: which of its arrays is which of the network's."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.models import pretrained
from convlens.models.network import Network
from convlens.models.weight_files import State, plain, read_states

# what data-parallel and compiled modules, trainers and methods of self-supervision put before the names
WORDS = {
    "module", "_orig_mod", "model", "net", "network", "encoder", "backbone", "base_model", "base_encoder", "body",
    "trunk", "student", "teacher", "ema", "ema_model", "online_network", "encoder_q", "visual",
}  # fmt: skip
# older files of the common library's DenseNet say norm.1 where the network says norm1
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_LONGEST = 4  # words in a prefix
COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")  # of no use: missing or too many is fine


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Attributes:
        loaded: names of the parameters and buffers that came from the file.
        fresh: those of the output layer that kept their fresh values: the file has another number of classes, or none.
        unused: names in the file that the network has no place for (auxiliary heads, what stands beside the prefix).
        notes: what was chosen or stripped on the way, one clause each.
    """

    path: Path
    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_weights(module: nn.Module, path: str | Path) -> LoadReport:
    """Copies the weights of a file into a network; an output layer of another size stays as it is.

    Args:
        module: a network of the zoo, or any other.
        path: a safetensors file, a file of `torch.save` that holds a state dict, plain or inside a checkpoint, or a run
            folder. Names may have a prefix, such as `module.` or `encoder.`.

    Raises:
        InputError: no such file, a file that is damaged or holds more than tensors, or weights of another network:
            a missing or unknown name, another shape or type, a value that is not finite. The module is then unchanged.
    """
    path = Path(path)
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    heads = tuple(f"{name}." for name in module.output_layers) if isinstance(module, Network) else ()
    problems: list[tuple[int, str]] = []
    for where, state in read_states(path):
        if pretrained.is_lite(state):
            names = pretrained.ours(state)
            state = {names[name]: value for name, value in state.items()}
        for prefix, own_prefix in _prefixes(state, own):
            found, aside = _renamed(state, prefix, own_prefix)
            fit = _fit(found, own, heads)
            if fit.problem is None:
                values = {name: _value(path, name, found[name], own[name]) for name in fit.loaded}
                with torch.no_grad():
                    for name, value in values.items():
                        own[name].copy_(value)
                unused = (*fit.unused, *aside)
                return LoadReport(path, fit.loaded, fit.fresh, unused, _notes(where, prefix, own_prefix, aside))
            problems.append((-fit.matching, fit.problem))
    problem = min(problems, key=lambda each: each[0])[1]  # of the reading that came nearest
    raise InputError(f"{path} holds the weights of another network: {problem}")


@dataclass(frozen=True)
class _Fit:
    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    matching: int
    problem: str | None


def _fit(found: State, own: State, heads: tuple[str, ...]) -> _Fit:
    """How arrays of these names fill the network."""
    same = [name for name, value in own.items() if name in found and found[name].shape == value.shape]
    if not heads:
        heads = _replaced_head(found, own)
    lacking = [name for name in own if name not in same and not name.endswith(COUNTERS)]
    # the output layer comes whole from the file or stays whole
    renewed = tuple(head for head in heads if any(name.startswith(head) for name in lacking))
    fresh = tuple(name for name in own if name.startswith(renewed)) if renewed else ()
    loaded = tuple(name for name in same if name not in fresh)
    unused = tuple(name for name in found if name not in own and not name.endswith(COUNTERS))
    open_ones = [name for name in lacking if name not in fresh]
    wrong = [name for name in open_ones if name in found]
    missing = [name for name in open_ones if name not in found]
    unknown = [name for name in unused if not name.startswith("aux")]
    problem = None
    if wrong:
        shapes = f"{_shape(found[wrong[0]])} in the file and {_shape(own[wrong[0]])} in the network"
        problem = f"{wrong[0]!r} is {shapes}{_more(wrong)}"
    elif not loaded:
        problem = "no name in it is one of the network"
    elif missing:
        problem = f"the file lacks {missing[0]!r}{_more(missing)}"
    elif unknown:
        problem = f"the network has no {unknown[0]!r}{_more(unknown)}"
    return _Fit(loaded, fresh, unused, len(loaded), problem)


def _replaced_head(found: State, own: State) -> tuple[str, ...]:
    """The one layer, if all shapes that differ are its, and only in the number of outputs: another set of classes."""
    differing = [name for name, value in own.items() if name in found and found[name].shape != value.shape]
    layers = {name.rpartition(".")[0] for name in differing}
    outputs_alone = all(
        own[name].ndim and found[name].ndim and found[name].shape[1:] == own[name].shape[1:] for name in differing
    )
    return (f"{layers.pop()}.",) if len(layers) == 1 and outputs_alone and len(found) > len(differing) else ()


def _prefixes(state: State, own: State) -> Iterator[tuple[str, str]]:
    """What could stand before the names in the file, and before those of the network: nothing first."""
    theirs = [""]
    for name in state:
        parts = name.split(".")[:-1]
        for n in range(1, min(len(parts), _LONGEST) + 1):
            prefix = ".".join(parts[:n]) + "."
            if prefix not in theirs and (set(parts[:n]) <= WORDS or all(key.startswith(prefix) for key in state)):
                theirs.append(prefix)
    ours = [""]
    first = next(iter(own), "").split(".")[:-1]
    for n in range(1, len(first) + 1):
        prefix = ".".join(first[:n]) + "."
        if all(name.startswith(prefix) for name in own):
            ours.append(prefix)
    for prefix in theirs:
        for own_prefix in ours:
            if not prefix or prefix != own_prefix:
                yield prefix, own_prefix


def _renamed(state: State, prefix: str, own_prefix: str) -> tuple[State, tuple[str, ...]]:
    """The arrays under the network's names, and the names of those without the prefix."""
    found = {
        own_prefix + OLD_DENSENET.sub(r"\1\2", name.removeprefix(prefix)): value
        for name, value in state.items()
        if name.startswith(prefix)
    }
    return found, tuple(name for name in state if not name.startswith(prefix) and not name.endswith(COUNTERS))


def _value(path: Path, name: str, value: Tensor, own: Tensor) -> Tensor:
    """The file's array as the network holds it. Raises `InputError` where that would lose or invent something."""
    problem = plain(value)
    if problem is None and value.is_floating_point() != own.is_floating_point():
        problem = f"is {_type(value)} where the network has {_type(own)}"
    if problem is not None:
        raise InputError(f"{path}: {name!r} {problem}; save it as dense floating-point numbers")
    value = value.detach().to(own.dtype)
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise InputError(f"{path} is damaged: {name!r} holds values that are not finite numbers")
    return value


def _notes(where: str, prefix: str, own_prefix: str, aside: tuple[str, ...]) -> tuple[str, ...]:
    notes = [f"taken from {where!r} in it"] if where else []
    if prefix:
        notes.append(f"{prefix!r} stripped from the names")
    if own_prefix:
        notes.append(f"{own_prefix!r} put before the names")
    if aside:
        notes.append(f"{len(aside)} arrays without that prefix left out, such as {aside[0]!r}")
    return tuple(notes)


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a single number"


def _more(items: Iterable[str]) -> str:
    more = len(list(items)) - 1
    return f" (and {more} more)" if more else ""
