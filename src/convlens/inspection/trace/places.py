"""Which node a layer's name means, and which of its cells is asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError, nearest
from convlens.inspection.trace.observed import Observed
from convlens.scratch.node import LEAVES

Cell = tuple[int, ...]


class Place(NamedTuple):
    """A node, by its position, and what has to be said about the choice ("" if nothing)."""

    position: int
    note: str


def find_layer(observed: Observed, layer: str | None) -> Place:
    """The node of a layer.

    Args:
        layer: path of a module, whose last node counts, or a node's name; "NAME#1" is the first of several calls of one
            module. None for the network's first output.

    Raises:
        InputError: no such layer; one that computes nothing or nothing of the image.
    """
    if layer is None:
        position = observed.graph.outputs[0]
        if not observed.from_image[position]:
            raise InputError(f"the output of {observed.module} does not depend on the image")
        return Place(position, "")
    working = {n.name: i for i, n in enumerate(observed.nodes) if n.op not in LEAVES and observed.from_image[i]}
    if layer.endswith("#1") and layer[:-2] in working:
        return Place(working[layer[:-2]], "")
    if layer in working and layer not in observed.paths:
        return Place(working[layer], "")
    own = [name for name in working if name == layer or name.startswith((f"{layer}.", f"{layer}#"))]
    if not own:
        raise InputError(_unknown(observed, layer, list(working)))
    last = own[-1]
    if len(own) == 1:
        return Place(working[last], "")
    names = ", ".join(f"{name}#1" if name == layer else name for name in own[:6]) + (", ..." if own[6:] else "")
    return Place(working[last], f"{layer} has {len(own)} operations ({names}); this is the last one, {last}")


def _unknown(observed: Observed, layer: str, working: Sequence[str]) -> str:
    if layer in observed.paths:
        return (
            f"{layer} does nothing with the image in inference: it is not called, or hands its input on as it is; "
            "trace the layer before it"
        )
    if any(node.name == layer for node in observed.nodes):
        return f"{layer} does not depend on the image: it is made of weights or constants alone"
    known = [*working, *filter(None, observed.paths)]
    hint = nearest(layer, known) or f" (its layers: {', '.join(working[:8])}{', ...' if working[8:] else ''})"
    return f"{observed.module} has no layer {layer!r}{hint}"


def find_cell(observed: Observed, position: int, at: Sequence[int] | None) -> Cell:
    """A cell of a node's output, the batch axis in front; by default the one with the largest value.

    Args:
        at: index without the batch axis: (C, Y, X) for images.

    Raises:
        InputError: another number of axes, or a cell out of range.
    """
    value = np.asarray(observed.calls[position].output)
    name = observed.nodes[position].name
    if value.size == 0:
        raise InputError(f"{name} gives an empty array of shape {value.shape}")
    front = (0,) if value.ndim and value.shape[0] == 1 else ()
    shape = value.shape[len(front) :]
    if at is None:
        return tuple(int(i) for i in np.unravel_index(int(np.nanargmax(_numbers(value, name))), value.shape))
    wanted = ",".join(map(str, at))
    if len(at) != len(shape):
        raise InputError(f"at {wanted}: {name} has shape {_shape(shape)}, expected {len(shape)} numbers")
    for i, n in zip(at, shape, strict=True):
        if not 0 <= i < n:
            raise InputError(f"at {wanted}: {name} has shape {_shape(shape)}, so {i} is out of range (0 to {n - 1})")
    return (*front, *(int(i) for i in at))


def _numbers(value: np.ndarray, name: str) -> np.ndarray:
    if np.isnan(value).all():
        raise InputError(f"{name} gives NaN alone: there is no largest cell; say which one with at")
    return value


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def shown(cell: Cell, value: np.ndarray) -> list[int]:
    """A cell as people write it: without the batch axis, where there is one."""
    return [int(i) for i in (cell[1:] if value.ndim and value.shape[0] == 1 else cell)]
