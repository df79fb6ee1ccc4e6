"""Builds a network for images of a size, and says which size would do where that one does not."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from convlens.base.errors import InputError, out_of_memory
from convlens.models.modes import evaluation_mode
from convlens.models.network import shapes_only

Side2 = tuple[int, ...]  # height and width; empty for a network on vectors, at the size it was made for
Build = Callable[[Side2], nn.Module]


def built(name: str, build: Build, size: Side2, channels: int, default: Sequence[int], given: str) -> nn.Module:
    """The network that `build(size)` gives. One that has to work on smaller images than usual is tried first.

    name, given: of the network, and the arguments that the caller gave, for messages: they are to blame where no size
        fits.
    channels: of the input. default: the input (C, H, W), or (F,), that the network is made for.

    Raises:
        InputError: the image is too small, with the smallest square that works, or there is too little memory.
    """

    def attempt(size: Side2) -> nn.Module:
        """The network without its numbers, run once where the size is in question."""
        with shapes_only():
            network = build(size)
        if smaller:
            with evaluation_mode(network):
                network(torch.empty(1, channels, *(size if image else ()), device="meta"))
        return network

    image = len(default) == 3  # otherwise the input is a vector, and the size that of an image which is made
    smaller = any(side < usual for side, usual in zip(size, default[1:], strict=False))
    on_meta = torch.get_default_device().type == "meta"
    if smaller or on_meta:
        network = _tried(name, attempt, size, given)
        if on_meta:
            return network
    try:
        return build(size)
    except (ValueError, RuntimeError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        if out_of_memory(error):
            raise InputError(f"network {name!r} of this size does not fit into memory") from error
        _tried(name, attempt, size, given)  # says which size it works on
        raise


def _tried(name: str, attempt: Build, size: Side2, given: str) -> nn.Module:
    """The network at that size; where it does not fit, an `InputError` with the smallest square that does."""
    try:
        return attempt(size)
    except (ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        side = _smallest(attempt)
        if side is None:
            if not given:
                raise
            raise InputError(f"network {name!r} cannot be built with {given}: {said(error)}") from error
        text = "x".join(map(str, size))
        reason = "" if min(size) < side else f"{error}; "
        raise InputError(
            f"network {name!r} does not work on images of {text} pixels (height x width): "
            f"{reason}the smallest square that it works on is {side}x{side}"
        ) from None


def _smallest(attempt: Build) -> int | None:
    """The smallest side of a square on which `attempt` does not fail, by doubling and then halving the gap."""

    def works(side: int) -> bool:
        try:
            attempt((side, side))
        except (ValueError, RuntimeError):
            return False
        return True

    high = next((2**i for i in range(10) if works(2**i)), None)
    if high is None:
        return None
    low = high // 2  # does not work, or is 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def said(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"unknown value {text}" if isinstance(error, KeyError) else text
