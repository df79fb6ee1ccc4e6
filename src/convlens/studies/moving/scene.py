"""A scene: grids of numbers beside each other, and frames, each of which finds one cell of the output."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from convlens import geometry, ops

Array = np.ndarray
Cells = list[tuple[int, int]]
Pair = tuple[int, int]
Sides = tuple[Pair, Pair]


@dataclass(frozen=True)
class Grid:
    """A table of numbers [H, W] under a name; `added` [H, W] marks cells that are padding or inserted zeros."""

    name: str
    values: Array
    added: Array | None = None


@dataclass(frozen=True)
class Frame:
    """One moment.

    on: the cells that count now, by the key of their grid.
    values: grids whose numbers change from frame to frame, such as the products.
    output, cell, value: the cell of the output that is found: its grid, its place, its value.
    sum: the calculation in words.
    """

    on: dict[str, Cells]
    values: dict[str, Array]
    output: str
    cell: tuple[int, int]
    value: float
    sum: str


@dataclass(frozen=True)
class Scene:
    """groups: keys of grids that stand above each other, group by group from left to right; signs: between groups."""

    key: str
    title: str
    about: str
    groups: list[list[str]]
    signs: list[str]
    grids: dict[str, Grid]
    frames: list[Frame] = field(repr=False)

    def output(self, key: str) -> Array:
        """The values of an output grid, collected from the frames."""
        found = np.full(self.grids[key].values.shape, np.nan)
        for frame in self.frames:
            if frame.output == key:
                found[frame.cell] = frame.value
        return found


def sliding(
    key: str, title: str, about: str, x: Array, w: Array, *, bias: float = 0.0, stride: Pair = (1, 1),
    padding: Sides = ((0, 0), (0, 0)), dilation: Pair = (1, 1), added: Array | None = None, names: Sequence[str] = (),
) -> Scene:  # fmt: skip
    """A kernel that slides over an image: patch, products, sum, cell, for every position.

    Args:
        x: image [C, H, W]. w: kernels [C_out, C, K_h, K_w], laid on as they are (cross-correlation).
        bias: added to every sum.
        padding: zeros ((top, bottom), (left, right)).
        added: bool [H, W], cells of x that are no pixels, such as zeros that were inserted.
        names: of the output channels.
    """
    c_out, channels, k_h, k_w = w.shape
    padded = ops.pad(x, padding=padding)
    inside = np.ones(x.shape[1:], bool) if added is None else ~added
    outside = ~np.pad(inside, padding)
    out = [geometry.conv_size(n, k, s, around, d) for n, k, s, around, d in
           zip(x.shape[1:], (k_h, k_w), stride, padding, dilation, strict=True)]  # fmt: skip
    several = channels > 1
    inputs, kernels, products = ([f"{name}{c}" for c in range(channels)] for name in ("input", "kernel", "products"))
    outputs = [f"output{o}" for o in range(c_out)]
    grids = {inputs[c]: Grid(f"input {c + 1}" if several else "input", padded[c], outside) for c in range(channels)}
    grids |= {kernels[c]: Grid(f"kernel, channel {c + 1}" if several else "kernel", w[0, c]) for c in range(channels)}
    grids |= {products[c]: Grid("products", np.zeros((k_h, k_w))) for c in range(channels)}
    named = list(names) or ([f"output {o + 1}" for o in range(c_out)] if c_out > 1 else ["output"])
    grids |= {outputs[o]: Grid(named[o], np.zeros(out)) for o in range(c_out)}
    frames = []
    for o, p, q in np.ndindex(c_out, *out):
        rows, columns = p * stride[0] + np.arange(k_h) * dilation[0], q * stride[1] + np.arange(k_w) * dilation[1]
        patch = padded[:, rows][:, :, columns]
        product = patch * w[o]
        total = float(product.sum() + bias)
        looked = [(int(r), int(c)) for r in rows for c in columns]
        frames.append(
            Frame(
                on=dict.fromkeys(inputs, looked),
                values=dict(zip(kernels, w[o], strict=True)) | dict(zip(products, product, strict=True)),
                output=outputs[o],
                cell=(p, q),
                value=total,
                sum=_said(product, bias, total),
            )
        )
    return Scene(key, title, about, [inputs, kernels, products, outputs], ["×", "=", "→"], grids, frames)


def matrix(key: str, title: str, about: str, m: Array, x: Array, names: tuple[str, str, str]) -> Scene:
    """A matrix [R, N] times a column [N], row by row. names: of the matrix, the column and the result."""
    grids = {
        "matrix": Grid(names[0], m, m == 0),
        "column": Grid(names[1], x[:, None]),
        "products": Grid("products", np.zeros((len(x), 1))),
        "output": Grid(names[2], np.zeros((len(m), 1))),
    }
    frames = []
    for row, weights in enumerate(m):
        used = [int(n) for n in np.flatnonzero(weights)]
        frames.append(
            Frame(
                on={"matrix": [(row, n) for n in used], "column": [(n, 0) for n in used]},
                values={"products": (weights * x)[:, None]},
                output="output",
                cell=(row, 0),
                value=float(weights @ x),
                sum=_said((weights * x)[None, None, used], 0.0, float(weights @ x)),
            )
        )
    return Scene(key, title, about, [["matrix"], ["column"], ["products"], ["output"]], ["×", "=", "→"], grids, frames)


def number(value: float) -> str:
    """A number of a grid: whole ones in full, others with three digits."""
    text = f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.3g}"
    return ("0" if text == "-0" else text).replace("-", "−")


def _said(product: Array, bias: float, total: float) -> str:
    """The products (of one channel) or the sums of the channels, added up."""
    terms = product.ravel() if len(product) == 1 else product.sum(axis=(1, 2))
    words = _added(terms)
    if len(product) > 1:
        words = f"channels: {words}"
    if bias:
        words += f" + bias {number(bias)}" if bias > 0 else f" − bias {number(-bias)}"
    return f"{words} = {number(total)}"


def _added(terms: Array) -> str:
    if not len(terms):  # a row of a matrix whose weights are all 0
        return "0"
    first, *rest = terms
    return number(first) + "".join(_signed(float(term)) for term in rest)


def _signed(value: float) -> str:
    return f" − {number(-value)}" if value < 0 else f" + {number(value)}"


def shown_values(scene: Scene) -> Iterator[dict[str, Array]]:
    """For each frame the numbers of all grids; cells of the output that are not found yet are NaN."""
    outputs = {frame.output for frame in scene.frames}
    state = {key: np.full(g.values.shape, np.nan) if key in outputs else g.values for key, g in scene.grids.items()}
    for frame in scene.frames:
        state = {**state, **frame.values, frame.output: state[frame.output].copy()}
        state[frame.output][frame.cell] = frame.value
        yield state
