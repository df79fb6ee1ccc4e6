"""What was asked for, checked."""

import os
from dataclasses import dataclass
from typing import Any

from torch import nn

from convlens.base.errors import InputError
from convlens.training.options import checked, kind


@dataclass(frozen=True, init=False)
class Request:
    """A network, images, and options at their defaults or as given.

    model: a name, "file.py:Function", a module, or None. data: what `data.find` takes, or None.

    Raises `InputError` for an argument of a wrong kind.
    """

    model: str | nn.Module | None
    data: Any
    options: dict[str, Any]

    def __init__(self, model: Any = None, data: Any = None, **options: Any):
        object.__setattr__(self, "model", _model(model))
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "options", checked(options))


def _model(model: Any) -> str | nn.Module | None:
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if isinstance(model, (str, nn.Module, type(None))):
        return model
    called = f": call it, as in {model.__name__}()" if callable(model) and hasattr(model, "__name__") else ""
    raise InputError(f'model: expected a name, "file.py:Function" or an nn.Module, {kind(model)}{called}')
