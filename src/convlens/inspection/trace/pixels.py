"""A number taken apart level by level, down to the pixels.

At every level the number is a sum of shares, one for each cell, and of the biases that were met on the way:

    number = sum of (weight * value) over all cells of the level + biases

One step goes through one operation, from the last to the first; `shares` says how each takes its share. Where branches
run side by side, a level is the operation that is taken apart next; the shares of the others wait (`waiting`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from convlens.inspection.trace.observed import Observed
from convlens.inspection.trace.places import shown
from convlens.inspection.trace.shares import carries, share
from convlens.scratch.node import LEAVES

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Level:
    """What the cells of one node bring to the number.

    Attributes:
        node, op: which node, and its operation; the last level is the image, or its pixels.
        values, weights: float64 of the node's shape; their product are the shares.
        waiting: shares that stand at other nodes at this moment.
        biases: sum of all biases met so far, above this level.
        bias: what this level's own operation adds to them.
        how: how it hands its share on.
    """

    node: str
    op: str
    values: Array
    weights: Array
    waiting: float
    biases: float
    bias: float
    how: str

    @property
    def shares(self) -> Array:
        return self.weights * self.values

    @property
    def total(self) -> float:
        """Shares and biases together: the number again."""
        return float(self.shares.sum()) + self.waiting + self.biases

    @property
    def magnitude(self) -> float:
        """Sum of the magnitudes of the shares."""
        return float(np.abs(self.shares).sum())

    def largest(self, top: int) -> list[dict[str, Any]]:
        """The cells with the largest shares."""
        shares = self.shares
        order = np.argsort(-np.abs(shares), axis=None, kind="stable")[:top]
        cells = [tuple(int(i) for i in np.unravel_index(n, shares.shape)) for n in order if shares.flat[n]]
        return [
            {
                "cell": shown(cell, shares),
                "value": float(self.values[cell]),
                "weight": float(self.weights[cell]),
                "share": float(shares[cell]),
            }
            for cell in cells
        ]

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        shares = self.shares
        return {
            "node": self.node,
            "op": self.op,
            "shape": list(shares.shape[1:] if shares.ndim and shares.shape[0] == 1 else shares.shape),
            "cells": int(np.count_nonzero(shares)),
            "shares": float(shares.sum()),
            "waiting": self.waiting,
            "biases": self.biases,
            "total": self.total,
            "bias": self.bias,
            "how": self.how,
            "largest": self.largest(top),
        }


@dataclass(frozen=True, eq=False)
class Pixels:
    """One number, shared out among the pixels.

    Attributes:
        value: the number, float64.
        levels: from the number itself down to the image.
        shares: of the pixels, float64 [C, H, W] (or the input's shape).
        bias: all biases together: shares.sum() + bias is the number.
    """

    value: float
    levels: tuple[Level, ...]
    shares: Array
    bias: float

    @property
    def error(self) -> float:
        """The largest difference of any level's total from the number, relative to the shares' magnitude there."""
        return max(abs(at.total - self.value) / max(at.magnitude + abs(at.biases), 1e-300) for at in self.levels)

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        return {
            "value": self.value,
            "sum": float(self.shares.sum()) + self.bias,
            "bias": self.bias,
            "error": self.error,
            "pixels": self.shares.tolist(),
            "levels": [level.to_dict(top) for level in self.levels],
        }


def expand(observed: Observed, position: int, cell: tuple[int, ...], scaling: "Scaling | None" = None) -> Pixels:
    """Takes one cell of a node apart, down to the image.

    Args:
        scaling: how pixels became the network's input; with it the last level are the pixels.
    """
    levels = _levels(observed, position, cell)
    if scaling is not None and levels[-1].op == "input":
        levels.append(scaling.level(levels[-1]))
    last = levels[-1]
    shares = (
        last.shares if last.op in ("input", "pixels") else np.zeros(np.shape(observed.calls[observed.image].output))
    )
    return Pixels(float(observed.calls[position].output[cell]), tuple(levels), shares[0], last.biases + last.bias)


def _levels(observed: Observed, position: int, cell: tuple[int, ...]) -> list[Level]:
    takes = _takes(observed)
    start = np.zeros(np.shape(observed.calls[position].output))
    start[cell] = 1.0
    waiting: dict[int, Array] = {position: start}
    levels: list[Level] = []
    biases = 0.0
    for at in range(position, -1, -1):
        if at not in waiting:
            continue
        node, call, weights = observed.nodes[at], observed.calls[at], waiting.pop(at)
        rest = sum(float((w * observed.calls[i].output).sum()) for i, w in waiting.items())
        bias, how = 0.0, "the image"
        if node.op != "input":
            sources = [source is not None and takes[source] for source in node.inputs]
            found = share(node.op, call, weights, sources)
            bias, how = found.bias, found.how
            for source, weight in zip(node.inputs, found.weights, strict=False):
                if source is not None and weight is not None:
                    waiting[source] = waiting[source] + weight if source in waiting else weight
        levels.append(Level(node.name, node.op, np.asarray(call.output), weights, rest, biases, bias, how))
        biases += bias
    return levels


@dataclass(frozen=True, eq=False)
class Scaling:
    """How pixels became the network's input: x = (pixel / 255 - mean) / std, by channel.

    Attributes:
        pixels: uint8 [H, W, C].
    """

    pixels: Array
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def level(self, image: Level) -> Level:
        """The share of the image as that of its pixels, whose mean is a bias."""
        mean, std = (np.array(v)[:, None, None] for v in (self.mean, self.std))
        bias = float(-(image.weights * (mean / std)).sum())
        pixels = self.pixels.transpose(2, 0, 1)[None].astype(np.float64)
        how = "linear: x = (pixel / 255 - mean) / std"
        return Level("pixels", "pixels", pixels, image.weights / (255 * std), 0.0, image.biases + bias, 0.0, how)


def _takes(observed: Observed) -> list[bool]:
    """For each node whether it takes a share: the image, and all that hands a share on to it."""
    takes: list[bool] = []
    for node in observed.nodes:
        behind = node.op not in LEAVES and any(takes[i] for i in node.inputs if i is not None)
        takes.append(node.op == "input" or (behind and carries(node.op, node.options)))
    return takes
