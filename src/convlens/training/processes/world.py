"""The processes that train one network together, and what they say to each other: arrays and JSON, never pickles."""

import contextlib
from typing import Any

import numpy as np
from torch import Tensor


class World:
    """One process among `size`, number `rank`. This one is alone; `Group` is one of several.

    waited: seconds spent on waiting for the others and on what they sent.
    """

    rank, size, waited = 0, 1, 0.0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes the run folder and talks to people."""
        return self.rank == 0

    def gather(self, own: Tensor) -> Tensor:
        """The tensors [n] of all processes, one after the other as the ranks are: [size, n]."""
        return own.unsqueeze(0)

    def exchange(self, slices: Tensor, room: Tensor) -> Tensor:
        """Row r of [size, n] goes to process r; what comes is a row of each process: [size, n], in `room`."""
        return room.copy_(slices)

    def share(self, value: Any = None) -> Any:
        """The JSON value of rank 0, for all; the others' is not looked at."""
        return value

    def collect(self, value: Any) -> list[Any]:
        """The JSON values of all processes, in the order of the ranks."""
        return [value]

    def share_arrays(self, arrays: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """The arrays of rank 0, for all."""
        assert arrays is not None
        return arrays

    def await_first(self, what: str) -> contextlib.AbstractContextManager[None]:
        """The block runs in rank 0 first, and in the others when it is done there, however long that takes."""
        return contextlib.nullcontext()


ALONE = World()
