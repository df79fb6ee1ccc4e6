"""Weights from a file, ours or foreign: safetensors, or a `.pth` that holds nothing but tensors.

No file is ever allowed to run code. A pickle is read by PyTorch's restricted reader alone, and what that refuses is
refused here: there is no fallback.
"""

import pickle
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.base.files import explained

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # where trainers put the weights in their checkpoints
PREFIXES = ("module.", "_orig_mod.")  # left by data-parallel and compiled modules
# older files of the common library's DenseNet say norm.1 where the network says norm1
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Attributes:
        loaded: names of the parameters and buffers that came from the file.
        fresh: those of the output layer that kept their fresh values: the file has another number of classes, or none.
        unused: names in the file that the network has no place for (auxiliary heads).
    """

    path: Path
    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def load_weights(module: nn.Module, path: str | Path) -> LoadReport:
    """Copies the weights of a file into a network; an output layer of another size stays as it is.

    Args:
        module: a network of the zoo (its `output_layers` may differ from the file), or any other, which must match.
        path: `.safetensors`, or a file of `torch.save` that holds a state dict, plain or inside a checkpoint.

    Raises:
        InputError: no such file, a file that is damaged or holds more than tensors, or weights of another network:
            a missing or unknown name, another shape, a value that is not finite. The module is then unchanged.
    """
    path = Path(path)
    found = _renamed(_read(path))
    own = module.state_dict()
    heads = tuple(f"{name}." for name in getattr(module, "output_layers", ()))
    loaded, fresh, missing, wrong = [], [], [], []
    for name, value in own.items():
        other = found.get(name)
        if other is not None and other.shape == value.shape:
            loaded.append(name)
        elif name.startswith(heads) and heads:
            fresh.append(name)
        elif other is not None:
            wrong.append(f"{name!r} is {_shape(other)} in the file and {_shape(value)} in the network")
        elif not name.endswith("num_batches_tracked"):  # files older than 2018 lack this counter
            missing.append(name)
    # the output layer comes whole from the file or stays whole
    fresh = [name for name in own if any(name.startswith(h) and any(f.startswith(h) for f in fresh) for h in heads)]
    loaded = [name for name in loaded if name not in fresh]
    unused = [name for name in found if name not in own]
    unknown = [name for name in unused if not name.startswith("aux")]
    if missing or wrong or unknown or not loaded:
        problem = (
            f"{wrong[0]}{_more(wrong)}" if wrong
            else f"the file lacks {missing[0]!r}{_more(missing)}" if missing
            else f"the network has no {unknown[0]!r}{_more(unknown)}" if unknown
            else "no name in it is one of the network"
        )  # fmt: skip
        raise InputError(f"{path} holds the weights of another network: {problem}")
    for name in loaded:
        if found[name].is_floating_point() and not bool(torch.isfinite(found[name]).all()):
            raise InputError(f"{path} is damaged: {name!r} holds values that are not finite numbers")
    with torch.no_grad():
        for name in loaded:
            own[name].copy_(found[name])
    return LoadReport(path, tuple(loaded), tuple(fresh), tuple(unused))


def _read(path: Path) -> dict[str, Tensor]:
    with explained("read", path):
        if not path.is_file():
            raise InputError(f"there is no weights file {path}")
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise InputError(f"{path} is not a whole safetensors file: {error}") from None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise InputError(
                f"{path} is refused: it is damaged, or holds more than tensors and could run code when opened; "
                "have its author save the state dict alone, best as safetensors"
            ) from None
        except (RuntimeError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} is not a whole PyTorch file: {(str(error) or 'it ends too early').splitlines()[0]}"
            ) from None
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in whatever a trainer saved around it."""
    for _ in range(2):
        if isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
        inner = [content[key] for key in WRAPPERS if key in content] if isinstance(content, dict) else []
        if not inner:
            break
        content = inner[0]
    raise InputError(f"{path} holds no state dict (names and tensors), neither plain nor under {', '.join(WRAPPERS)}")


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {OLD_DENSENET.sub(r"\1\2", name): value for name, value in state.items()}


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a single number"


def _more(items: Iterable[str]) -> str:
    more = len(list(items)) - 1
    return f" (and {more} more)" if more else ""
