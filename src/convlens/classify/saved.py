"""The trained network of a run folder: built as `run.json` says, filled with the saved weights."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens import models
from convlens.base.errors import InputError
from convlens.classify.caller import undisturbed
from convlens.models.build import build, is_file_reference
from convlens.models.lazy import settle_lazy_layers
from convlens.models.network import shapes_only
from convlens.runs import RunFolder, RunRecord


def load_module(folder: RunFolder, record: RunRecord, model: str | nn.Module | None = None) -> nn.Module:
    """The trained network of a run folder, in inference mode on the CPU.

    Raises:
        InputError: no weights yet, weights that do not fit the network or are not finite.
    """
    shapes = folder.weight_shapes()
    with undisturbed():
        module = None
        if record.model.source == "zoo" and model is None:
            module = _without_memory(record, shapes)
            _refuse_other_shapes(folder, record, module, shapes)
        if module is None or not _only_saved_tensors(module):
            module = rebuild(record, model)
        _refuse_other_shapes(folder, record, module, shapes)
        _fill(module, _finite_weights(folder, record))
    return module.eval()


def rebuild(record: RunRecord, model: str | nn.Module | None = None) -> nn.Module:
    """The network of a run, without its weights.

    A network of the zoo is rebuilt by name. Code of the author's runs only if the caller hands it over: a
    module, or a file reference that the user typed; what stands in `run.json` is never run.
    """
    if isinstance(model, nn.Module):
        settle_lazy_layers(model, tuple(record.model.input))
        return model
    if record.model.source != "zoo" and model is None:
        raise InputError(_no_code(record))
    if model is not None and not is_file_reference(model):
        raise InputError(f"--model {model!r}: expected path/to/file.py:Function")
    channels, height, width = record.model.input
    if model is None:
        models.get(record.model.name)  # a name of the zoo, or an error: never a file
    return build(
        model or record.model.name,
        num_classes=len(record.classes),
        in_channels=channels,
        image_size=(height, width),
        whitening=record.model.whitening,
        **record.model.arguments,
    )


def _no_code(record: RunRecord) -> str:
    how = "name its file, as in --model path/to/file.py:Function" if record.model.source == "file" else "pass it"
    return f"the network {record.model.name!r} is its author's own code, which a run folder cannot bring: {how}"


class WeightsAlone(nn.Module):
    """The saved arrays of a run by their names, as buffers, for a network whose code is not here. It cannot be run."""

    def __init__(self, folder: RunFolder, record: RunRecord):
        super().__init__()
        self._why = _no_code(record)
        for name, array in _finite_weights(folder, record).items():
            try:
                self._add(name.split("."), torch.from_numpy(array))
            except (KeyError, TypeError, AttributeError):
                raise InputError(f"{folder.weights}: no network can have an array {name!r}") from None

    def _add(self, path: list[str], tensor: torch.Tensor) -> None:
        part: nn.Module = self
        for step in path[:-1]:
            if step not in dict(part.named_children()):
                part.add_module(step, nn.Module())
            part = part.get_submodule(step)
        part.register_buffer(path[-1], tensor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise InputError(self._why)


def _without_memory(record: RunRecord, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """The network as `run.json` has it, of shapes alone: untrusted sizes could ask for more than the memory."""
    most = max(1000, sum(map(math.prod, shapes.values())))
    for key, value in record.model.arguments.items():
        if any(isinstance(number, int) and abs(number) > most for number in _flat(value)):
            raise InputError(f"run.json: model.arguments: {key} = {value} is larger than the network's weights")
    with shapes_only():
        return rebuild(record)


def _flat(value: Any) -> list[Any]:
    return [inner for item in value for inner in _flat(item)] if isinstance(value, list) else [value]


def _refuse_other_shapes(
    folder: RunFolder, record: RunRecord, module: nn.Module, shapes: dict[str, tuple[int, ...]]
) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name, shape in expected.items():
        if name not in shapes:
            raise InputError(f"{folder.weights} lacks {name!r}, which the network {record.model.name} has")
        if shapes[name] != shape:
            raise InputError(
                f"{folder.weights}: {name!r} has shape {list(shapes[name])}, "
                f"the network {record.model.name} needs {list(shape)}"
            )
    extra = sorted(set(shapes) - set(expected))
    if extra:
        raise InputError(f"{folder.weights} has {extra[0]!r}, which the network {record.model.name} does not know")


def _only_saved_tensors(module: nn.Module) -> bool:
    """Whether the weights file holds every tensor of the network, each under one name."""
    saved = list(map(id, module.state_dict(keep_vars=True).values()))
    for part in module.modules():
        for value in vars(part).values():
            for item in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(item, torch.Tensor):
                    return False
    return sorted(saved) == sorted(set(map(id, (*module.parameters(), *module.buffers()))))


def _finite_weights(folder: RunFolder, record: RunRecord) -> dict[str, np.ndarray]:
    arrays, _ = folder.read_weights(record)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{folder.weights}: {name!r} holds values that are not finite")
    return arrays


def _fill(module: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Sets the weights. A network of shapes alone gets memory of its own for them, of PyTorch's alignment."""
    expected = module.state_dict()
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    meta = any(tensor.is_meta for tensor in expected.values())
    if meta:
        tensors = {name: tensor.to(expected[name].dtype, copy=True) for name, tensor in tensors.items()}
    module.load_state_dict(tensors, assign=meta)
