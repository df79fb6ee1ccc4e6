"""What a cell sees: which cells of the image lie behind it, whatever their weights are.

For each operation one question: which input cells does a set of output cells read? Answered cell by cell, with masks,
from the cell back to the image. A weight of zero, a loser of max pooling, a mean over the whole image: all are seen.
Where an operation has no rule here, it counts as reading all of its inputs: never too little.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convlens.geometry import adaptive_cells
from convlens.inspection.trace.observed import Observed
from convlens.inspection.trace.shares import RULES, pointwise
from convlens.ops import convolution, pooling, transposed
from convlens.ops.arrays import unbroadcast
from convlens.scratch.operation import Call
from convlens.scratch.operations import OPERATIONS

Array = np.ndarray
Reads = Callable[[Call, Array], Sequence[Array | None]]


def seen_by(observed: Observed, position: int, cell: tuple[int, ...]) -> Array:
    """Which cells of the image one cell of a node sees: booleans of the image's shape."""
    start = np.zeros(np.shape(observed.calls[position].output), bool)
    start[cell] = True
    masks = {position: start}
    for at in range(position, -1, -1):
        node = observed.nodes[at]
        if at not in masks or node.op == "input" or not observed.from_image[at]:
            continue
        reads = READS.get(node.op, everything)
        for source, mask in zip(node.inputs, reads(observed.calls[at], masks.pop(at)), strict=False):
            if source is not None and mask is not None and observed.from_image[source]:
                masks[source] = masks[source] | mask if source in masks else mask
    image = observed.image
    return masks.get(image, np.zeros(np.shape(observed.calls[image].output), bool))


def everything(call: Call, mask: Array) -> list[Array | None]:
    """Each output cell reads all inputs."""
    return [None if a is None else np.full(np.shape(a), mask.any()) for a in call.arrays]


def in_place(call: Call, mask: Array) -> list[Array | None]:
    """Each output cell reads the cell at its place, of operands that are repeated the one that was."""
    return [None if a is None else unbroadcast(mask.astype(float), np.shape(a)) > 0 for a in call.arrays]


def as_moved(name: str) -> Reads:
    """Operations that move cells or add them up: where a share of the mask arrives was read. Weights count as one."""

    def reads(call: Call, mask: Array) -> list[Array | None]:
        floats = [a is not None and np.asarray(a).dtype.kind == "f" for a in call.arrays]
        ones = [np.ones_like(a) if is_float else a for a, is_float in zip(call.arrays, floats, strict=True)]
        sizes = np.random.default_rng(0).uniform(
            1, 2, mask.shape
        )  # so that bicubic weights, some below 0, do not cancel
        call = replace(call, arrays=tuple(ones), needs=(True,) * len(ones))
        found = OPERATIONS[name].backward(call, np.where(mask, sizes, 0.0))
        every = everything(call, mask)  # indices: all of them
        return [g != 0 if g is not None and f else e for g, f, e in zip(found, floats, every, strict=False)]

    return reads


def along(*axes: int) -> Reads:
    """Each output cell reads all cells along these axes (which the operation keeps), without axes the one in its place;
    and all of the other operands."""

    def reads(call: Call, mask: Array) -> list[Array | None]:
        return [_spread(mask, axes, np.shape(call.arrays[0])), *everything(call, mask)[1:]]

    return reads


def _spread(mask: Array, axes: Sequence[int], shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(mask.any(axis=tuple(axes), keepdims=True), shape)


def _softmax(call: Call, mask: Array) -> list[Array | None]:
    return [_spread(mask, (call.options.get("axis", -1),), mask.shape)]


def _layer_norm(call: Call, mask: Array) -> list[Array | None]:
    return list(along(*range(-call.options.get("axes", 1), 0))(call, mask))


def _group_norm(call: Call, mask: Array) -> list[Array | None]:
    groups = call.options.get("groups", mask.shape[1])
    rows = mask.reshape(len(mask), groups, -1)
    return [_spread(rows, (2,), rows.shape).reshape(mask.shape)]


def _batch_norm(call: Call, mask: Array) -> list[Array | None]:
    own = len(call.arrays) < 4 or call.arrays[3] is None
    return list((along(0, *range(2, mask.ndim)) if own else along())(call, mask))


def _reduced(call: Call, mask: Array) -> list[Array | None]:
    """Whole axes became one number."""
    shape, axis = np.shape(call.arrays[0]), call.options["axis"]
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    gone = {a % max(len(shape), 1) for a in axes}
    return [np.broadcast_to(mask.reshape([1 if i in gone else n for i, n in enumerate(shape)]), shape)]


def _cumulative(call: Call, mask: Array) -> list[Array | None]:
    axis = call.options["axis"]
    return [np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis)]


def _halves(call: Call, mask: Array) -> list[Array | None]:
    return [np.concatenate([mask, mask], call.options.get("axis", -1))]


def _neighbors(call: Call, mask: Array) -> list[Array | None]:
    """Local response normalization: the channels around each."""
    size, channels = call.options.get("size", 5), mask.shape[1]
    around = [range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, channels)) for c in range(channels)]
    read = _matrix(around, channels)
    return [np.moveaxis(np.moveaxis(mask, 1, -1).astype(float) @ read, -1, 1) > 0]


# --- windows: along each axis a matrix says which input cells an output cell reads ---------------------------------


def _matrix(reads: Sequence[Sequence[int]], size: int) -> Array:
    matrix = np.zeros((len(reads), size))
    for out, cells in enumerate(reads):
        matrix[out, list(cells)] = 1
    return matrix


def _backwards(mask: Array, down: Array, across: Array) -> Array:
    """Masks (..., H_out, W_out) as masks (..., H, W)."""
    return down.T @ mask.astype(float) @ across > 0


def _window_matrices(windows: Any) -> list[Array]:
    found = []
    for n, k, s, (before, _), d, out in windows.axes():
        cells = [[o * s - before + i * d for i in range(k)] for o in range(out)]
        found.append(_matrix([[c for c in row if 0 <= c < n] for row in cells], n))
    return found


def _pooled(call: Call, mask: Array) -> list[Array | None]:
    options = {k: v for k, v in call.options.items() if k not in ("count_padding", "divisor")}
    return [_backwards(mask, *_window_matrices(pooling.checked(call.arrays[0], **options)[1]))]


def _adaptive(call: Call, mask: Array) -> list[Array | None]:
    sizes = zip(np.shape(call.arrays[0])[2:], mask.shape[2:], strict=True)
    return [_backwards(mask, *(_matrix([adaptive_cells(j, n, m) for j in range(m)], n) for n, m in sizes))]


def _grouped(mask: Array, groups: int, channels: int) -> Array:
    """Of the output channels' masks, for each input channel those of its group together."""
    rows = mask.reshape(len(mask), groups, -1, *mask.shape[2:]).any(axis=2)
    return np.repeat(rows, channels // groups, axis=1)


def _conv2d(call: Call, mask: Array) -> list[Array | None]:
    x, w = call.arrays[:2]
    *_, windows, groups = convolution.checked(x, w, **call.options)
    return [_backwards(_grouped(mask, groups, x.shape[1]), *_window_matrices(windows)), np.full(w.shape, mask.any())]


def _conv1d(call: Call, mask: Array) -> list[Array | None]:
    x, w = call.arrays[:2]
    axis = {key: call.options.get(key, default) for key, default in (("stride", 1), ("padding", 0), ("dilation", 1))}
    options = convolution.one_axis(x, w, **axis)
    flat = Call((x[:, :, None], w[:, :, None]), {**options, "groups": call.options.get("groups", 1)}, call.mode)
    return [None if m is None else m[:, :, 0] for m in _conv2d(flat, mask[:, :, None])]


def _conv_transpose2d(call: Call, mask: Array) -> list[Array | None]:
    x, w = call.arrays[:2]
    *_, windows, groups = transposed.checked(x, w, **call.options)
    down, across = (matrix.T for matrix in _window_matrices(windows))
    return [_backwards(_grouped(mask, groups, x.shape[1]), down, across), np.full(w.shape, mask.any())]


def _linear(call: Call, mask: Array) -> list[Array | None]:
    x, w = call.arrays[:2]
    return [np.broadcast_to(mask.any(axis=-1, keepdims=True), np.shape(x)), np.full(np.shape(w), mask.any())]


_MOVING = (
    "flatten reshape permute broadcast take put pixel_shuffle pixel_unshuffle upsample_nearest upsample_bilinear pad "
    "upsample_bicubic concat total mean global_avg_pool2d matmul einsum index index_put gather"
)
_IN_PLACE = (
    "add subtract multiply divide scale_shift dropout alpha_dropout where cast stop_gradient compare logical_not floor "
    "ceil sign trunc round maximum minimum"
)
READS: dict[str, Reads] = {
    **{name: as_moved(name) for name in _MOVING.split()},
    **dict.fromkeys(_IN_PLACE.split(), in_place),
    **{name: along() for name, rule in RULES.items() if rule is pointwise},
    "running_instance_norm": along(),
    **dict.fromkeys(("largest", "smallest", "variance", "largest_first", "smallest_first"), _reduced),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("group_norm", "instance_norm"), _group_norm),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "max_pool2d_indices"), _pooled),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d_indices"), _adaptive),
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "cumulative_sum": _cumulative,
    "glu": _halves,
    "local_response_norm": _neighbors,
    "conv2d": _conv2d,
    "conv1d": _conv1d,
    "conv_transpose2d": _conv_transpose2d,
    "linear": _linear,
}
