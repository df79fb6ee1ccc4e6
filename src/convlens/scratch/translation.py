"""What the functions that translate PyTorch's operators have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Out:
    """The output of the node at this position, and its shape (None where a size is known at run time only)."""

    position: int
    shape: tuple[int | None, ...]


class Builder(Protocol):
    """What the functions of `aten` need: see `from_torch._Builder`.

    Attributes:
        training: whether the module was traced in training mode.
    """

    training: bool

    def emit(self, op: str, inputs: list[Out | None], **settings: Any) -> Out:
        """Adds a node. The output's shape is taken from the program if this is the last node of its operation."""
        ...

    def next_dropout(self) -> int:
        """The number of the next dropout."""
        ...


Arguments = Mapping[str, Any]
Handler = Callable[[Builder, Arguments], Any]


def numbers(value: Any) -> Any:
    """Lists of settings as tuples."""
    return tuple(value) if isinstance(value, (list, tuple)) else value
