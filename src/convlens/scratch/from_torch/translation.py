"""What the functions that translate PyTorch's operators have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from convlens.base.errors import InputError

HALVES = ("float16", "bfloat16")


@dataclass(frozen=True)
class Out:
    """The output of the node at this position.

    Attributes:
        position: of the node in its graph.
        shape: None for a size that is known at run time only.
        dtype: its type in PyTorch, such as "float32"; empty where it does not matter.
    """

    position: int
    shape: tuple[int | None, ...]
    dtype: str = ""


@dataclass(frozen=True)
class Missing:
    """An output that the NumPy engine does not compute, such as the indices of pooling. Harmless until it is used."""

    what: str


class Builder(Protocol):
    """What the functions of `aten` need: see `builder.Builder`.

    Attributes:
        training: whether the module was traced in training mode.
        result_dtype: the type that PyTorch gives the output of the current operation.
    """

    training: bool
    result_dtype: str

    def emit(self, op: str, inputs: list[Out | None], **options: Any) -> Out:
        """Adds a node. The output's shape is taken from the program if this is the last node of its operation."""
        ...

    def constant(self, array: np.ndarray) -> Out:
        """Adds an array that the network holds."""
        ...

    def size(self, x: Out, axis: int) -> Any:
        """The size of an axis: a number, or a reference to what it will be at run time."""
        ...

    def wants(self, which: int) -> bool:
        """Whether the program uses this output of the current operation."""
        ...

    def count_beside(self, mean: Out) -> Out | None:
        """The count of batches of the layer with this running mean, if it divides by it (`momentum=None`)."""
        ...

    def next_draw(self) -> int:
        """The number of the next operation that draws random numbers."""
        ...


Arguments = Mapping[str, Any]
Handler = Callable[[Builder, Arguments], Any]


def numbers(value: Any) -> Any:
    """Lists of options as tuples."""
    return tuple(value) if isinstance(value, (list, tuple)) else value


def cast(g: Builder, x: Out, dtype: str) -> Out:
    """The array in another type; itself where it has this type.

    Raises:
        InputError: a type that the NumPy engine does not compute in.
    """
    if not dtype or not x.dtype or x.dtype == dtype:
        return x
    if dtype in HALVES or dtype.startswith(("complex", "float8", "q")):
        raise InputError(f"it casts to {dtype}, and the NumPy engine computes in float32 and float64 only")
    source = "float32" if x.dtype in HALVES else x.dtype
    if source == dtype:
        return x
    return Out(g.emit("cast", [x], dtype=dtype).position, x.shape, dtype)
