"""Where boxes go: layer by layer from top to bottom (Sugiyama, Tagawa and Toda, 1981), with straight spines.

Each box is one row below the lowest box that it takes something from. An arrow that passes rows bends around the boxes
there, at a point of its own in each row; arrows that leave the same box share their points.
"""

from dataclasses import dataclass
from itertools import pairwise

from convlens.inspection.drawing.boxes import Drawing

_SWEEPS = 9
_BOX, _POINT, _GAP = 1.0, 0.22, 0.12  # widths

Item = tuple[int, int]
"""(box, -1); or (source, row) for the bend in that row of the arrows that leave a box."""


@dataclass
class Placed:
    """Positions, in widths of a box to the right and rows downward.

    Attributes:
        at: (x, row) by box.
        routes: by arrow (from, to), the points that it passes on its way, as (x, row).
    """

    at: list[tuple[float, int]]
    routes: dict[tuple[int, int], list[tuple[float, int]]]


def place(drawn: Drawing) -> Placed:
    """Places the boxes of a drawing and the bends of its arrows."""
    rows = _rows(drawn)
    items: dict[int, list[Item]] = {}
    for box, row in enumerate(rows):
        items.setdefault(row, []).append((box, -1))
    links: set[tuple[Item, Item]] = set()
    chains: dict[tuple[int, int], list[Item]] = {}
    for a, b in drawn.arrows:
        chain = [(a, row) for row in range(rows[a] + 1, rows[b])]
        chains[a, b] = chain
        for bend in chain:
            if bend not in items.setdefault(bend[1], []):
                items[bend[1]].append(bend)
        path = [(a, -1), *chain, (b, -1)]
        links |= set(pairwise(path))
    x = _across(items, links, _spine(drawn))
    routes = {arrow: [(x[bend], bend[1]) for bend in chain] for arrow, chain in chains.items()}
    return Placed([(x[box, -1], rows[box]) for box in range(len(rows))], routes)


def _rows(drawn: Drawing) -> list[int]:
    """Rows from above; a box that only feeds lower ones comes down to them."""
    rows = [0] * len(drawn.boxes)
    for a, b in sorted(drawn.arrows, key=lambda arrow: arrow[1]):
        rows[b] = max(rows[b], rows[a] + 1)
    return rows


def _spine(drawn: Drawing) -> set[int]:
    """The boxes of one longest way through the network: they stand one below the other."""
    longest = [0] * len(drawn.boxes)
    following: dict[int, int] = {}
    for a, b in sorted(drawn.arrows, reverse=True):
        if longest[b] + 1 >= longest[a]:
            longest[a], following[a] = longest[b] + 1, b
    box: int | None = 0
    found = set()
    while box is not None:
        found.add(box)
        box = following.get(box)
    return found


def _across(items: dict[int, list[Item]], links: set[tuple[Item, Item]], spine: set[int]) -> dict[Item, float]:
    """The x of each item: near its neighbors above and below, the spine at 0, boxes before bends, none upon another."""
    above: dict[Item, list[Item]] = {}
    below: dict[Item, list[Item]] = {}
    for a, b in links:
        above.setdefault(b, []).append(a)
        below.setdefault(a, []).append(b)
    x: dict[Item, float] = {}
    for sweep in range(_SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in sorted(items, reverse=sweep % 2 == 1):
            wanted = {}
            for item in items[row]:
                known = [x[other] for other in near.get(item, []) if other in x]
                wanted[item] = sum(known) / len(known) if known else x.get(item, 0.0)
            order = sorted(items[row], key=lambda item: (x.get(item, wanted[item]), item))
            _spread(order, wanted, spine)
            x.update(wanted)
    return x


def _spread(order: list[Item], x: dict[Item, float], spine: set[int]) -> None:
    """Moves the items of a row apart as little as they must: the spine stays at 0, bends go around boxes."""
    boxes = [item for item in order if item[1] == -1]
    middle = next((k for k, (box, _) in enumerate(boxes) if box in spine), None)
    if middle is not None:
        x[boxes[middle]] = 0.0
    start = 0 if middle is None else middle
    for left, right in pairwise(boxes[start:]):
        x[right] = max(x[right], x[left] + _BOX + _GAP)
    for right, left in pairwise(boxes[start::-1]):
        x[left] = min(x[left], x[right] - _BOX - _GAP)
    taken = [(x[box], _BOX) for box in boxes]
    for bend in (item for item in order if item[1] != -1):
        x[bend] = _free(x[bend], taken)
        taken.append((x[bend], _POINT))


def _free(wanted: float, taken: list[tuple[float, float]]) -> float:
    """The nearest place for a bend, to the right where two are as near."""

    def clear(at: float) -> bool:
        return all(abs(at - middle) >= (width + _POINT) / 2 - 1e-9 for middle, width in taken)

    places = [wanted] + [middle + side * (width + _POINT) / 2 for middle, width in taken for side in (1, -1)]
    return min((at for at in places if clear(at)), key=lambda at: (round(abs(at - wanted), 6), -at))
