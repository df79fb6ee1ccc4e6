"""Where a test knows more than the types: what is there, what is of a wrong type on purpose."""

from typing import Any, TypeVar

import torch
from torch.nn import Module

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value, which is there."""
    assert value is not None
    return value


def wrong(value: Any) -> Any:
    """The value, of another type than a function says that it takes."""
    return value


def untyped(value: Any) -> Any:
    """The value, of which the types know less than what it is: a part of a network, a dictionary of options."""
    return value


def in_format(module: Module, layout: torch.memory_format) -> Module:
    """The network with its weights in that memory format, which the annotations of PyTorch leave out."""
    moving: Any = module
    return moving.to(memory_format=layout)
