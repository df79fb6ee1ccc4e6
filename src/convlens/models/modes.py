"""The training flags of a network: dropout and batch normalization go by them."""

import contextlib
from collections.abc import Iterator
from operator import attrgetter

from torch import nn


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside, the network and all of its parts are in evaluation mode; then each has the flag that it had."""
    parts = list(module.modules())
    flags = list(map(attrgetter("training"), parts))
    module.eval()
    try:
        yield
    finally:
        for part, flag in zip(parts, flags, strict=True):
            part.training = flag
