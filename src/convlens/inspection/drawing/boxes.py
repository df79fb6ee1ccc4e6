"""Which boxes and arrows a network has: read from what one pass executes, so functions count like modules."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from convlens.classify.caller import undisturbed
from convlens.inspection.drawing.labels import Label, is_small, label
from convlens.inspection.execution import Execution, execute
from convlens.inspection.probe import Op
from convlens.inspection.summary import Layer, summarize
from convlens.inspection.summary.rows import Rows, rows_of
from convlens.models.lazy import settled
from convlens.nn.private import uncompiled


@dataclass(frozen=True)
class Box:
    """One box of a drawing.

    Attributes:
        name: of the layer that gives the box its text, as `summary` calls it; "" for the input.
        text: what it does, such as "3×3 conv, 64, /2".
        family: "convolution", "pooling", "linear", "join" (sums and concatenations), "input" or "other".
        output: shape of what it gives, without the batch.
        parameters, macs: of all layers in the box, copies among them.
        layers: names of the layers in the box: a convolution with the normalization and activation behind it, and those
            of the copies that are not drawn.
        times: how often it runs: the block that it belongs to repeats.
    """

    name: str
    text: str
    family: str
    output: tuple[int, ...] | None
    parameters: int = 0
    macs: int = 0
    layers: tuple[str, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class Drawing:
    """A network as boxes in the order in which they run.

    Attributes:
        title: name of the network.
        arrows: (from, to), positions in `boxes`; every arrow goes forward.
        repeats: (first, last, times): boxes of a block that is drawn once and runs so often, one after the other.
        parameters, macs: of the whole network, for one example.
    """

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int], ...]
    repeats: tuple[tuple[int, int, int], ...]
    parameters: int
    macs: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "repeats": [{"first": a, "last": b, "times": n} for a, b, n in self.repeats]}


def drawing(module: nn.Module, input_shape: tuple[int, ...], *, title: str = "", fold: bool = True) -> Drawing:
    """The drawing of a network, in evaluation mode.

    Args:
        module: any network that takes one tensor; nothing of it is changed.
        input_shape: of one example, without the batch.
        title: by default the name of its class.
        fold: whether a block that follows on itself, such as the six blocks of a stage, is drawn once.

    Raises:
        InputError: the network cannot run on such an input.
    """
    summary = summarize(module, input_shape)
    with undisturbed():
        module = settled(uncompiled(module), tuple(input_shape))
        execution = execute(module, tuple(input_shape))
    rows = rows_of(execution)
    layers = {layer.name: layer for layer in summary.layers}
    of_row: dict[int, list[Op]] = {row: [] for row in rows.names}
    for row, op in zip(rows.of_op, execution.ops, strict=True):
        if row in of_row:
            of_row[row].append(op)
    flow = _flow(execution, rows)
    merged, home = _merged(of_row, flow)
    boxes = [Box("", "input", "input", tuple(input_shape))]
    boxes += [_box([layers[rows.names[row]] for row in group if rows.names[row] in layers],
                   label(of_row[group[0]], execution.calls[group[0]])) for group in merged]  # fmt: skip
    arrows = {(home[a], home[b]) for a, b in flow if home[a] != home[b]}
    paths = [""] + [execution.calls[group[0]].path for group in merged]
    drawn = Drawing(title or type(module).__name__, tuple(boxes), tuple(sorted(arrows)), (), summary.parameters,
                    summary.macs)  # fmt: skip
    return _folded(drawn, paths) if fold else drawn


def _box(layers: list[Layer], shown: Label) -> Box:
    return Box(
        name=layers[0].name,
        text=shown.text,
        family=shown.family,
        output=layers[-1].output,
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        layers=tuple(layer.name for layer in layers),
    )


def _flow(execution: Execution, rows: Rows) -> set[tuple[int, int]]:
    """(from, to): rows whose tensors other rows take, the input being row -1. Views hand on where they came from."""
    made_by: dict[int, set[int]] = {id(execution.input): {-1}}
    found = set()
    for row, op in zip(rows.of_op, execution.ops, strict=True):
        sources = set().union(*(made_by.get(id(tensor), set()) for tensor in op.inputs))
        if row in rows.names and sources:
            found |= {(source, row) for source in sources if source != row}
            sources = {row}
        for output in op.outputs:
            if output is not None and sources:
                made_by[id(output)] = sources
    return found


def _merged(of_row: dict[int, list[Op]], flow: set[tuple[int, int]]) -> tuple[list[list[int]], dict[int, int]]:
    """The rows of each box, and the box (from 1; the input is 0) of each row.

    Normalization, activation and dropout stand in the box before them where nobody else takes what that gives.
    """
    sources: dict[int, set[int]] = {}
    users: dict[int, set[int]] = {}
    for a, b in flow:
        sources.setdefault(b, set()).add(a)
        users.setdefault(a, set()).add(b)
    groups: list[list[int]] = []
    home = {-1: 0}
    for row, ops in of_row.items():
        if row not in sources and row not in users:
            continue  # constants
        before = next(iter(sources.get(row, ())), -1)
        alone = len(sources.get(row, ())) == 1 and before != -1 and users[before] == {row}
        if alone and is_small(ops):
            home[row] = home[before]
            groups[home[row] - 1].append(row)
        else:
            groups.append([row])
            home[row] = len(groups)
    return groups, home


def _folded(drawn: Drawing, paths: list[str]) -> Drawing:
    """The drawing with each block that follows on itself drawn once, outermost blocks first.

    paths: by box, of the module that it stands in.
    """
    keep = list(range(len(drawn.boxes)))  # by box, the box that stands for it
    repeats: list[tuple[int, int, int]] = []
    for blocks in _siblings(paths):
        first = 0
        while first < len(blocks):
            last = first
            while last + 1 < len(blocks) and _same(drawn, blocks[first], blocks[last + 1], blocks[last]):
                last += 1
            start, stop = blocks[first]
            if last > first and all(keep[i] == i for i in range(start, blocks[last][1])):
                repeats.append((start, stop - 1, last - first + 1))
                for begin, _ in blocks[first + 1 : last + 1]:
                    for k in range(stop - start):
                        keep[begin + k] = start + k
            first = last + 1
    for i, standing in enumerate(keep):  # a block in a block: what stands for a box may have a box that stands for it
        while keep[standing] != standing:
            standing = keep[standing]
        keep[i] = standing
    return _without_copies(drawn, keep, repeats)


def _siblings(paths: list[str]) -> Iterable[list[tuple[int, int]]]:
    """For each module, the boxes [start, stop) of its parts that follow each other, outermost modules first."""
    depth = max((path.count(".") + 1 for path in paths if path), default=0)
    for level in range(1, depth + 1):
        at_level = [".".join(path.split(".")[:level]) if path.count(".") >= level - 1 else "" for path in paths]
        starts = [i for i in range(1, len(paths)) if at_level[i] and at_level[i] != at_level[i - 1]]
        spans = []
        for start in starts:
            stop = start
            while stop < len(paths) and at_level[stop] == at_level[start]:
                stop += 1
            spans.append((start, stop))
        run: list[tuple[int, int]] = []
        for span in spans:
            same_parent = run and at_level[run[-1][0]].rpartition(".")[0] == at_level[span[0]].rpartition(".")[0]
            if run and not (run[-1][1] == span[0] and same_parent):
                yield run
                run = []
            run.append(span)
        if run:
            yield run


def _same(drawn: Drawing, one: tuple[int, int], other: tuple[int, int], before: tuple[int, int]) -> bool:
    """Whether two blocks of at least two boxes do the same, the other one on what its predecessor gives."""
    size = one[1] - one[0]
    if size < 2 or other[1] - other[0] != size:
        return False

    def inside(block: tuple[int, int]) -> tuple[list[tuple[str, tuple[int, ...] | None]], set[tuple[int, int]]]:
        boxes = [(box.text, box.output[1:] if box.output else None) for box in drawn.boxes[slice(*block)]]
        start, stop = block
        return boxes, {(a - start, b - start) for a, b in drawn.arrows if start <= a and b < stop}

    enters = {a for a, b in drawn.arrows if other[0] <= b < other[1] and a < other[0]}
    return inside(one) == inside(other) and any(before[0] <= a < before[1] for a in enters)


def _without_copies(drawn: Drawing, keep: list[int], repeats: list[tuple[int, int, int]]) -> Drawing:
    """keep: by box, the box that stands for it, with the layers, parameters and work of both."""
    copies: dict[int, list[Box]] = {}
    for box, standing in zip(drawn.boxes, keep, strict=True):
        copies.setdefault(standing, []).append(box)
    new = {old: position for position, old in enumerate(copies)}
    boxes = tuple(
        replace(
            same[0],
            parameters=sum(box.parameters for box in same),
            macs=sum(box.macs for box in same),
            layers=tuple(name for box in same for name in box.layers),
            times=len(same),
        )
        for same in copies.values()
    )
    arrows = {(new[keep[a]], new[keep[b]]) for a, b in drawn.arrows}
    arrows = {(a, b) for a, b in arrows if a < b}  # what a copy hands to the next copy goes back to the first
    return replace(
        drawn, boxes=boxes, arrows=tuple(sorted(arrows)), repeats=tuple((new[a], new[b], n) for a, b, n in repeats)
    )
