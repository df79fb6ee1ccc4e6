"""Which input cells, with which weights, make one output cell: one function for each kind of operation with windows.

    y[cell] = sum of value * weight over all terms + bias

Every function takes a call (the operation at work) and the cell, with the batch axis in front, and gives the terms in
the order in which a kernel is read: channel, row, column. Cells of the padding are zeros and no terms. What has no
function here (activations, sums, normalization, shuffles, ...) follows from its rule in `shares`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from convlens.geometry import adaptive_cells
from convlens.inspection.trace.shares import share
from convlens.ops import convolution, pooling, transposed
from convlens.scratch.operation import Call

Array = np.ndarray
Cell = tuple[int, ...]
Pairs = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Terms:
    """What one input of an operation brings to one output cell.

    Attributes:
        input: which of the operation's inputs.
        cells: int [T, n], where in that input, the batch axis in front.
        values, weights: float64 [T].
        kernel: int [T, k], where in the operation's weights; empty where it has none.
        won: for the largest of several: which of the terms it is. Terms of equal value are ties.
    """

    input: int
    cells: Array
    values: Array
    weights: Array
    kernel: Array = field(default_factory=lambda: np.zeros((0, 0), int))
    won: Array | None = None

    @property
    def products(self) -> Array:
        return self.values * self.weights


class Sum(NamedTuple):
    """One number as a sum: products of its terms, plus a bias. `how`: how the weights were found."""

    terms: tuple[Terms, ...]
    bias: float
    how: str

    @property
    def total(self) -> float:
        return self.bias + sum(float(t.products.sum()) for t in self.terms)

    @property
    def magnitude(self) -> float:
        """The sum of the magnitudes of all terms and of the bias: what rounding is measured by."""
        return abs(self.bias) + sum(float(np.abs(t.products).sum()) for t in self.terms)


def terms_of(op: str, call: Call, cell: Cell, takes: Sequence[bool]) -> Sum:
    """The sum that makes one output cell.

    Args:
        op: the operation's name in `scratch.operations.OPERATIONS`.
        cell: index into its output.
        takes: for each input whether it comes from the image; the others are weights.
    """
    if op in WINDOWS and takes[0] and not any(takes[1:]):
        return WINDOWS[op](call, cell)
    return _by_rule(op, call, cell, takes)


def conv2d(call: Call, cell: Cell) -> Sum:
    """y[n, o, p, q] = b[o] + sum of w[o, c, i, j] x[n, c, p s + i d - top, q s + j d - left]."""
    x, w, b = _three(call)
    *_, windows, groups = convolution.checked(x, w, **call.options)
    n, o, p, q = cell
    rows, columns = (_met(windows, axis, at) for axis, at in enumerate((p, q)))
    first = o // (len(w) // groups) * w.shape[1]  # the first input channel of the group
    found = [((n, first + c, y, z), (o, c, i, j)) for c, (i, y), (j, z) in product(range(w.shape[1]), rows, columns)]
    return _weighted(x, w, found, 0.0 if b is None else float(b[o]))


def conv1d(call: Call, cell: Cell) -> Sum:
    """As `conv2d`, on images of one row."""
    x, w, b = _three(call)
    axis = {key: call.options.get(key, default) for key, default in (("stride", 1), ("padding", 0), ("dilation", 1))}
    options = {**convolution.one_axis(x, w, **axis), "groups": call.options.get("groups", 1)}
    flat = conv2d(Call((x[:, :, None], w[:, :, None], b), options, call.mode), (*cell[:2], 0, cell[2]))
    (terms,) = flat.terms
    kept = [0, 1, 3]  # all axes but that of the one row
    return Sum((replace(terms, cells=terms.cells[:, kept], kernel=terms.kernel[:, kept]),), *flat[1:])


def conv_transpose2d(call: Call, cell: Cell) -> Sum:
    """y[n, o, u, v] = b[o] + sum of w[c, o, i, j] x[n, c, p, q] wherever u = p s + i d - top, v = q s + j d - left."""
    x, w, b = _three(call)
    *_, windows, groups = transposed.checked(x, w, **call.options)
    n, o, u, v = cell
    rows, columns = (_stamped(windows, axis, at) for axis, at in enumerate((u, v)))
    outputs, inputs = w.shape[1], len(w) // groups  # channels of one group
    channels = range(o // outputs * inputs, (o // outputs + 1) * inputs)
    found = [((n, c, p, q), (c, o % outputs, i, j)) for c, (i, p), (j, q) in product(channels, rows, columns)]
    return _weighted(x, w, found, 0.0 if b is None else float(b[o]))


def linear(call: Call, cell: Cell) -> Sum:
    """y[..., o] = b[o] + sum over k of w[o, k] x[..., k]."""
    x, w, b = _three(call)
    *front, o = cell
    found = [((*front, k), (o, k)) for k in range(w.shape[1])]
    return _weighted(x, w, found, 0.0 if b is None else float(b[o]))


def max_pool2d(call: Call, cell: Cell) -> Sum:
    """The largest of the window; of equal ones the first in reading order."""
    x, windows = pooling.checked(call.arrays[0], **call.options)
    rows, columns = ([at for _, at in _met(windows, axis, at)] for axis, at in enumerate(cell[2:]))
    return _largest(x, cell, rows, columns)


def adaptive_max_pool2d(call: Call, cell: Cell) -> Sum:
    """The largest of a window of a grid that covers the image."""
    return _largest(call.arrays[0], cell, *_adaptive(call, cell))


def avg_pool2d(call: Call, cell: Cell) -> Sum:
    """The sum of the window over the number of its cells."""
    options = dict(call.options)
    counted, divisor = options.pop("count_padding", True), options.pop("divisor", None)
    x, windows = pooling.checked(call.arrays[0], **options)
    rows, columns = ([at for _, at in _met(windows, axis, at)] for axis, at in enumerate(cell[2:]))
    return _mean(x, cell, rows, columns, 1 / float(pooling.divisors(windows, counted, divisor)[cell[2:]]))


def adaptive_avg_pool2d(call: Call, cell: Cell) -> Sum:
    """The mean of a window of a grid that covers the image."""
    rows, columns = _adaptive(call, cell)
    return _mean(call.arrays[0], cell, rows, columns, 1 / (len(rows) * len(columns)))


WINDOWS: dict[str, Callable[[Call, Cell], Sum]] = {
    "conv2d": conv2d,
    "conv1d": conv1d,
    "conv_transpose2d": conv_transpose2d,
    "linear": linear,
    "max_pool2d": max_pool2d,
    "adaptive_max_pool2d": adaptive_max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
}


# --- where a window looks -------------------------------------------------------------------------------------------


def _met(windows: Any, axis: int, at: int) -> Pairs:
    """Along one axis: the kernel cells of window `at` that lie on the image, each with the cell that it meets."""
    first = at * windows.stride[axis] - windows.around[axis][0]
    cells = ((i, first + i * windows.dilation[axis]) for i in range(windows.kernel[axis]))
    return [(i, cell) for i, cell in cells if 0 <= cell < windows.size[axis]]


def _stamped(windows: Any, axis: int, at: int) -> Pairs:
    """Along one axis: the kernel cells through which output `at` of a transposed convolution was stamped, each with
    the input cell that held the stamp."""
    found = []
    for i in range(windows.kernel[axis]):
        cell, rest = divmod(at + windows.around[axis][0] - i * windows.dilation[axis], windows.stride[axis])
        if rest == 0 and 0 <= cell < windows.output[axis]:
            found.append((i, cell))
    return found


def _adaptive(call: Call, cell: Cell) -> tuple[range, range]:
    x, size = call.arrays[0], call.options["size"]
    size = (size, size) if isinstance(size, int) else size
    rows, columns = (adaptive_cells(at, n, m) for at, n, m in zip(cell[2:], x.shape[2:], size, strict=True))
    return rows, columns


# --- sums -----------------------------------------------------------------------------------------------------------


def _three(call: Call) -> tuple[Any, Any, Any]:
    x, w, b, *_ = (*call.arrays, None, None)
    return x, w, b


def _weighted(x: Array, w: Array, found: Sequence[tuple[Cell, Cell]], bias: float) -> Sum:
    """Terms from pairs (cell of the input, cell of the weights)."""
    cells = np.array([cell for cell, _ in found], int).reshape(len(found), x.ndim)
    kernel = np.array([place for _, place in found], int).reshape(len(found), w.ndim)
    terms = Terms(0, cells, x[tuple(cells.T)], w[tuple(kernel.T)], kernel)
    return Sum((terms,), bias, "linear: input times weight")


def _window(x: Array, cell: Cell, rows: Sequence[int], columns: Sequence[int]) -> tuple[Array, Array]:
    cells = np.array([(*cell[:2], row, column) for row, column in product(rows, columns)], int).reshape(-1, 4)
    return cells, x[tuple(cells.T)]


def _largest(x: Array, cell: Cell, rows: Sequence[int], columns: Sequence[int]) -> Sum:
    cells, values = _window(x, cell, rows, columns)
    won = np.arange(len(values)) == (int(values.argmax()) if len(values) else -1)
    ties = int((values == values.max(initial=-np.inf)).sum())
    how = "the winner takes all" if ties < 2 else f"the winner takes all; {ties} are equal, the first one counts"
    return Sum((Terms(0, cells, values, won.astype(float), won=won),), 0.0, how)


def _mean(x: Array, cell: Cell, rows: Sequence[int], columns: Sequence[int], weight: float) -> Sum:
    cells, values = _window(x, cell, rows, columns)
    return Sum((Terms(0, cells, values, np.full(len(values), weight)),), 0.0, "linear: input times weight")


def _by_rule(op: str, call: Call, cell: Cell, takes: Sequence[bool]) -> Sum:
    """Terms of any operation: the weights that its rule gives the inputs of this one cell."""
    one = np.zeros_like(call.output)
    one[cell] = 1
    shared = share(op, call, one, takes)
    terms = []
    for i, (x, weights) in enumerate(zip(call.arrays, shared.weights, strict=True)):
        if weights is None:
            continue
        cells = np.argwhere(weights)
        if not len(cells) and weights.shape == one.shape:  # a value that was stopped is a term, too
            cells = np.array([cell])
        terms.append(Terms(i, cells, x[tuple(cells.T)], weights[tuple(cells.T)]))
    return Sum(tuple(terms), shared.bias, shared.how)
