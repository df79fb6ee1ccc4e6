"""What is kept of the tensors that pass by: copies, in the nesting in which modules take and return them."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from convlens.base.errors import InputError, nearest
from convlens.nn import private

T = TypeVar("T")
Keep = Callable[[str, Tensor], Any]


def copied(_path: str, tensor: Tensor) -> Tensor:
    """A copy, apart from automatic differentiation: what the network writes in place later does not change it."""
    return tensor.detach().clone()


def mapped(value: Any, kind: type[T], function: Callable[[T], Any]) -> Any:
    """The value with `function(x)` for every x of that kind in nested tuples, lists, dictionaries and dataclasses.

    All else stays the object that it is. Dictionaries of any kind become plain ones.
    """
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, Mapping):
        return {name: mapped(item, kind, function) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [mapped(item, kind, function) for item in value]
        if isinstance(value, list):
            return items
        make: Any = getattr(type(value), "_make", tuple)  # of a named tuple
        return make(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        twin = copy.copy(value)
        for field in dataclasses.fields(value):  # frozen ones, too
            object.__setattr__(twin, field.name, mapped(getattr(value, field.name), kind, function))
        return twin
    return value


class Found(dict[str, list[Any]]):
    """What a probe found, by path. A path that is not there is an `InputError` that says why."""

    def __init__(self, paths: Iterable[str], missing: Mapping[str, str] | None = None):
        super().__init__({path: [] for path in paths})
        self._missing = missing or {}

    def __missing__(self, path: str) -> list[Any]:
        why = self._missing.get(path) or f"the probe does not look at {path!r}{nearest(path, self)}"
        raise InputError(why)


class Slot:
    """The place of the gradient of a tensor, which arrives in the backward pass."""

    def __init__(self, tensor: Tensor):
        self.value: Any = None
        self._tensor: Tensor | None = tensor
        self._step = tensor.grad_fn
        self._lost = False

    @property
    def is_lost(self) -> bool:
        """Whether PyTorch has taken the tensor out of the graph: a view, written in place after it was returned."""
        if self._tensor is not None and self.value is None:
            self._lost = private.is_view(self._tensor) and self._tensor.grad_fn is not self._step
        return self._lost and self.value is None

    def close(self) -> None:
        """Lets the tensor go, and with it the graph."""
        self._lost, self._tensor, self._step = self.is_lost, None, None
