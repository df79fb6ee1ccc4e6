"""What an operation of a graph is: how it runs, how it gives gradients back, and what it sees while it does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from convlens import ops
from convlens.base.seeds import generator

Array = np.ndarray


@dataclass(frozen=True)
class Mode:
    """How a graph is run: in training or not, and the address of its random numbers."""

    training: bool = False
    seed: int = 0
    step: int = 0

    def mask(self, which: int, shape: tuple[int, ...], rate: float) -> Array:
        """The mask of dropout number `which`, booleans of `shape`."""
        return ops.dropout_mask(shape, rate, self.seed, "dropout", which, self.step)

    def uniform(self, which: int, shape: tuple[int, ...]) -> Array:
        """Random numbers from 0 to 1 for draw number `which`, float64 of `shape`."""
        return generator(self.seed, "uniform", which, self.step).random(shape)


@dataclass
class Call:
    """One operation at work.

    Attributes:
        arrays: its inputs; None for an argument left out.
        options: its other arguments.
        output: what it gave.
        saved: what its backward needs besides.
        updates: new values of buffers, by position among the inputs.
        needs: which inputs want a gradient (known in backward only).
    """

    arrays: tuple[Any, ...]
    options: dict[str, Any]
    mode: Mode
    output: Any = None
    saved: Any = None
    updates: dict[int, Array] = field(default_factory=dict)
    needs: tuple[bool, ...] = ()


class Operation(NamedTuple):
    """`forward(call)` gives the output; `backward(call, grad)` a gradient (or None) for each input."""

    forward: Callable[[Call], Any]
    backward: Callable[[Call, Array], Sequence[Array | None]]
