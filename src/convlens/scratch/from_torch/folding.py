"""What a program computes from numbers alone (positions, masks, indices) is computed once, when it is read."""

import operator
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg

from convlens.nn import private

Memory = int


def constant_nodes(graph: fx.Graph, known: set[str]) -> set[fx.Node]:
    """Nodes that depend on nothing that changes: neither on the input or a parameter, nor on chance.

    Args:
        known: names of the placeholders whose values are fixed.
    """
    changing: set[Memory] = set()  # memory into which something is written that is not known yet
    while True:
        found = _constant(graph, known, changing)
        grown = changing | {
            memory_of(target)
            for node in graph.nodes
            for target in written(node)
            if node not in found or target.op == "placeholder"
        }
        if grown == changing:
            return found
        changing = grown


def _constant(graph: fx.Graph, known: set[str], changing: set[Memory]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            fixed = node.name in known
        elif node.op != "call_function" or not _is_plain(node):
            continue
        else:
            fixed = all(n in found for n in node.all_input_nodes)
        if fixed and not any(key in changing for key in memories(node)):
            found.add(node)
    return found


def _is_plain(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return True
    if not private.is_operator(node.target):
        return False
    random = torch.Tag.nondeterministic_seeded in node.target.tags
    empty = "empty" in str(node.target)
    return not random and not empty and bool(memories(node))


def evaluate(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    """The value of a constant node."""
    args = map_arg(node.args, lambda n: values[n])
    kwargs = {**map_arg(node.kwargs, lambda n: values[n])}  # type: ignore[dict-item]
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    with torch.no_grad():
        return node.target(*args, **kwargs)  # type: ignore[operator]


def written(node: fx.Node) -> list[fx.Node]:
    """The arguments that an operation writes into."""
    schema = private.schema(node.target)
    if schema is None:
        return []
    given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
    named = [a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return [value for name in named if isinstance(value := given.get(name), fx.Node)]


def memories(node: fx.Node) -> list[Memory]:
    """The memory of each tensor that a node gives."""
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else [value]
    return [private.storage(v) for v in values if isinstance(v, torch.Tensor)]


def memory_of(node: fx.Node) -> Memory:
    """The memory of the one tensor that a node gives."""
    return memories(node)[0]
