"""Where one number of a network comes from: its formula, its terms, and the part of the image behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from convlens.inspection.trace.formulas import formula, with_numbers
from convlens.inspection.trace.observed import Observed, observe
from convlens.inspection.trace.pixels import Pixels, Scaling, expand
from convlens.inspection.trace.places import find_cell, find_layer, shown
from convlens.inspection.trace.sees import seen_by
from convlens.inspection.trace.shares import RULES, pointwise
from convlens.inspection.trace.statistics import NORMALIZATIONS
from convlens.inspection.trace.terms import Sum, Terms, terms_of
from convlens.scratch.node import Node

if TYPE_CHECKING:
    from rich.console import RenderableType

Array = np.ndarray
_AFTER = (*NORMALIZATIONS, *(op for op, rule in RULES.items() if rule is pointwise))


@dataclass(frozen=True, eq=False)
class Field:
    """The part of the image that a cell sees.

    Attributes:
        mask: booleans of the image's axes, such as [H, W].
    """

    mask: Array

    @property
    def pixels(self) -> int:
        """How many cells of the image, each counted once for all channels."""
        return int(self.mask.sum())

    @property
    def box(self) -> list[list[int]]:
        """First and last cell along each axis: [[top, bottom], [left, right]]; empty where nothing is seen."""
        places = np.nonzero(self.mask)
        return [[int(p.min()), int(p.max())] for p in places] if self.pixels else []

    def to_dict(self) -> dict[str, Any]:
        return {"box": self.box, "pixels": self.pixels, "image": list(self.mask.shape)}


@dataclass(frozen=True)
class After:
    """What the next operation makes of the number: an activation or a normalization."""

    node: str
    op: str
    value: float
    numbers: str


@dataclass(frozen=True, eq=False)
class Trace:
    """One number of a network, taken apart.

    Attributes:
        node, op: the node of the NumPy graph that gave it, and its operation.
        cell: where in the node's output, without the batch axis.
        shape: of that output.
        value: what the network itself gives there, in its own type (float32 as a rule).
        exact: the same in float64, by the NumPy graph.
        sum: its terms and its bias, float64.
        notes: what has to be said, in sentences.
    """

    node: str
    op: str
    cell: list[int]
    shape: list[int]
    value: float
    exact: float
    sum: Sum
    formula: str
    numbers: str
    notes: tuple[str, ...]
    observed: Observed
    position: int
    index: tuple[int, ...]
    scaling: Scaling | None = None

    @property
    def recomputed(self) -> float:
        """Bias plus all terms."""
        return self.sum.total

    @property
    def bias(self) -> float:
        return self.sum.bias

    @property
    def sources(self) -> list[str]:
        """The node of each operand in turn; the terms say which of them they are of."""
        return ["" if i is None else self.observed.nodes[i].name for i in self.observed.nodes[self.position].inputs]

    @cached_property
    def field(self) -> Field:
        """The receptive field: the part of the image that the cell sees."""
        mask = seen_by(self.observed, self.position, self.index)
        return Field(mask[0].any(axis=0) if mask.ndim > 2 else mask[0])

    @cached_property
    def pixels(self) -> Pixels:
        """The number shared out level by level, down to the pixels."""
        return expand(self.observed, self.position, self.index, self.scaling)

    @cached_property
    def after(self) -> tuple[After, ...]:
        """What activations and normalizations behind the node make of the number, as long as there is one way on."""
        found: list[After] = []
        at = self.position
        while (then := self._next(at)) is not None:
            node, call = self.observed.nodes[then], self.observed.calls[then]
            takes = [i is not None and self.observed.from_image[i] for i in node.inputs]
            numbers = with_numbers(node.op, call, self.index, terms_of(node.op, call, self.index, takes))
            found.append(After(node.name, node.op, float(call.output[self.index]), numbers))
            at = then
        return tuple(found)

    def _next(self, at: int) -> int | None:
        users = [i for i, node in enumerate(self.observed.nodes) if at in node.inputs]
        if len(users) != 1 or self.observed.nodes[users[0]].op not in _AFTER:
            return None
        same = np.shape(self.observed.calls[users[0]].output) == np.shape(self.observed.calls[at].output)
        return users[0] if same else None

    def partial_sums(self) -> list[dict[str, Any]]:
        """The sum of the terms of each input channel."""
        found = []
        for terms in self.sum.terms:
            if terms.cells.shape[1] < 3:  # no channels apart from the cells themselves
                continue
            channels = terms.cells[:, 1]
            for channel in np.unique(channels):
                total = float(terms.products[channels == channel].sum())
                found.append({"input": self.sources[terms.input], "channel": int(channel), "sum": total})
        return found

    def terms(self) -> list[dict[str, Any]]:
        """All terms as dictionaries, in reading order."""
        return [row for terms in self.sum.terms for row in _rows(terms, self.sources[terms.input])]

    def to_dict(self, *, to_pixels: bool = False, top: int = 10) -> dict[str, Any]:
        found = {
            "network": self.observed.module,
            "node": self.node,
            "op": self.op,
            "cell": self.cell,
            "shape": self.shape,
            "value": self.value,
            "exact": self.exact,
            "recomputed": self.recomputed,
            "difference": self.value - self.recomputed,
            "bias": self.bias,
            "formula": self.formula,
            "numbers": self.numbers,
            "how": self.sum.how,
            "partial_sums": self.partial_sums(),
            "activation": [vars(step) for step in self.after],
            "receptive_field": self.field.to_dict(),
            "notes": list(self.notes),
            "terms": self.terms(),
        }
        return {**found, "to_pixels": self.pixels.to_dict(top)} if to_pixels else found

    def table(self, *, to_pixels: bool = False, top: int = 10) -> "RenderableType":
        """For a terminal, by Rich."""
        from convlens.inspection.trace.table import table

        return table(self, to_pixels=to_pixels, top=top)

    def draw(self, folder: Path | str, *, to_pixels: bool = False, quiet: bool = True) -> list[Path]:
        """Writes pictures (PNG): the operation at work and, with `to_pixels`, one for each level. Gives their paths.

        Raises:
            InputError: the folder cannot be written.
        """
        from convlens.inspection.trace.pictures import draw

        return draw(self, Path(folder), to_pixels=to_pixels, quiet=quiet)


def trace(
    module: nn.Module,
    image: Tensor | Array,
    layer: str | None = None,
    at: Sequence[int] | None = None,
    *,
    scaling: Scaling | None = None,
) -> Trace:
    """Where one number of a network comes from, for one image.

    The network runs as it is, once, in inference mode; a NumPy graph of the operations that it asked for runs beside it
    in float64. Nothing of the network is changed.

    Args:
        module: any network that takes one tensor.
        image: its input, float [1, ...].
        layer: path of a module, whose last operation counts, or a node's name; by default the network's output.
        at: which cell of the layer's output, without the batch axis, such as (C, Y, X); by default the largest.
        scaling: how the image was made of pixels.

    Raises:
        InputError: the network cannot run on the image or asks for an operation that the NumPy engine lacks; no such
            layer or cell.
    """
    observed = observe(module, image)
    position, note = find_layer(observed, layer)
    cell = find_cell(observed, position, at)
    node, call = observed.nodes[position], observed.calls[position]
    takes = [i is not None and observed.from_image[i] for i in node.inputs]
    found = terms_of(node.op, call, cell, takes)
    value = np.asarray(call.output)
    notes = [note, *observed.notes, *_missing(observed, node, position)]
    own = observed.torch.get(position)
    return Trace(
        node=node.name,
        op=node.op,
        cell=shown(cell, value),
        shape=[int(n) for n in (value.shape[1:] if value.ndim and value.shape[0] == 1 else value.shape)],
        value=float(value[cell] if own is None else own[cell]),
        exact=float(value[cell]),
        sum=found,
        formula=formula(node.op),
        numbers=with_numbers(node.op, call, cell, found),
        notes=tuple(filter(None, notes)),
        observed=observed,
        position=position,
        index=cell,
        scaling=scaling,
    )


def _missing(observed: Observed, node: Node, position: int) -> list[str]:
    if position in observed.torch:
        return []
    return [f"PyTorch computes {node.name} within a larger operation: its own value is not known, the float64 is shown"]


def _rows(terms: Terms, source: str) -> list[dict[str, Any]]:
    products = terms.products.tolist()
    rows: list[dict[str, Any]] = [
        {"input": source, "cell": cell[1:], "value": value, "weight": weight, "product": product}
        for cell, value, weight, product in zip(
            terms.cells.tolist(), terms.values.tolist(), terms.weights.tolist(), products, strict=True
        )
    ]
    if len(terms.kernel):
        rows = [{**row, "kernel": place} for row, place in zip(rows, terms.kernel.tolist(), strict=True)]
    if terms.won is not None:
        rows = [{**row, "won": won} for row, won in zip(rows, terms.won.tolist(), strict=True)]
    return rows
