"""The nodes of a graph, and the options among theirs that are known at run time only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convlens.scratch.operation import Call

LEAVES = ("input", "parameter", "buffer", "constant")


@dataclass(frozen=True)
class Ref:
    """In a node's options: the value that another node (a size) has at run time."""

    node: int


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Attributes:
        name: unique in its graph; for parameters and buffers the name of the array.
        op: a key of `OPERATIONS`, or one of `LEAVES`.
        inputs: positions of the nodes whose outputs it takes, all smaller than its own; None for an argument left out.
        options: everything else that the operation takes.
    """

    name: str
    op: str
    inputs: tuple[int | None, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def references(value: Any) -> list[int]:
    """The nodes that options refer to."""
    if isinstance(value, Ref):
        return [value.node]
    if isinstance(value, Mapping):
        return [r for item in value.values() for r in references(item)]
    return [r for item in value for r in references(item)] if isinstance(value, (list, tuple)) else []


def resolved(value: Any, calls: Sequence[Call | None]) -> Any:
    """Settings with every `Ref` replaced by the value it stands for."""
    if isinstance(value, Ref):
        call = calls[value.node]
        assert call is not None
        return call.output
    if isinstance(value, Mapping):
        return {key: resolved(item, calls) for key, item in value.items()}
    return type(value)(resolved(item, calls) for item in value) if isinstance(value, (list, tuple)) else value
