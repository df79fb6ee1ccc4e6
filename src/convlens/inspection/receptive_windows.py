"""Receptive fields after windows: convolution, pooling, resizing, padding, unfolding. See `receptive_rules`."""

from collections.abc import Callable
from math import prod
from typing import Any

from convlens.geometry import conv_size
from convlens.inspection.graph import Op
from convlens.inspection.receptive_rules import along, first, rule, shape_of
from convlens.inspection.sights import Atom, Sight, Sights, union


def _per_axis(value: Any, axes: int, default: int = 0) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return [default] * axes if not values else values * axes if len(values) < axes else values


def _spatial(
    sights: Sights, sight: Sight, axes: int, change: Callable[[Atom, int], Atom], mixes: bool = False
) -> Sight:
    """Applies `change(atom, number)` to the last dimensions; with `mixes`, the channels before them are mixed."""
    seen = dict(sight.seen)
    before = sight.dims[:-axes]
    if mixes:
        sights.collapse(seen, before[-1])
        before = (*before[:-1], (Atom(prod(atom.size for atom in before[-1])),))
    atoms = [sights.single(seen, dim) for dim in sight.dims[-axes:]]
    return Sight((*before, *((change(atom, number),) for number, atom in enumerate(atoms))), seen)


@rule("convolution mkldnn_convolution")
def _convolution(sights: Sights, op: Op) -> Sight:
    a, shape = op.arguments, shape_of(op)
    kernel = tuple(a["weight"].shape[2:])
    axes = len(kernel)
    stride, dilation = _per_axis(a["stride"], axes), _per_axis(a["dilation"], axes)
    before = _per_axis(a["padding"], axes)

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        through = atom.fields.transposed if a.get("transposed") else atom.fields.window
        return Atom(count, atom.axis, through(kernel[i], stride[i], before[i], dilation[i], count))

    sight = _spatial(sights, first(sights, op), axes, change, mixes=True)
    seen = dict(sight.seen)
    for tensor in op.inputs[1:]:  # weights that depend on the image
        if extra := sights.get(tensor):
            seen = union(seen, extra.seen)
            sights.collapse(seen, *extra.dims)
    return Sight((*sight.dims[: -axes - 1], (Atom(shape[-axes - 1]),), *sight.dims[-axes:]), seen)


@rule(
    "max_pool1d max_pool2d_with_indices max_pool3d_with_indices "
    "max_pool1d_with_indices avg_pool1d avg_pool2d avg_pool3d"
)
def _pooling(sights: Sights, op: Op) -> Sight:
    a, shape = op.arguments, shape_of(op)
    axes = int(op.name[op.name.index("pool") + 4])
    kernel = _per_axis(a["kernel_size"], axes)
    stride = _per_axis(a["stride"] or kernel, axes)
    before, dilation = _per_axis(a["padding"], axes), _per_axis(a.get("dilation", 1), axes)

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        return Atom(count, atom.axis, atom.fields.window(kernel[i], stride[i], before[i], dilation[i], count))

    return _spatial(sights, first(sights, op), axes, change)


@rule("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d")
def _adaptive(sights: Sights, op: Op) -> Sight:
    shape, sight = shape_of(op), first(sights, op)
    axes = int(op.name[-2])
    seen = dict(sight.seen)
    for dim, count in zip(sight.dims[-axes:], shape[-axes:], strict=True):
        if count == 1:
            sights.collapse(seen, dim)

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        return Atom(1) if count == 1 else Atom(count, atom.axis, atom.fields.adaptive(atom.size, count))

    return _spatial(sights, Sight(sight.dims, seen), axes, change)


@rule(
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d "
    "upsample_linear1d upsample_bilinear2d upsample_trilinear3d"
)
def _upsample(sights: Sights, op: Op) -> Sight:
    shape, linear = shape_of(op), "linear" in op.name
    corners = bool(op.arguments.get("align_corners"))
    axes = int(op.name[-2])

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        return Atom(count, atom.axis, atom.fields.resized(atom.size, count, linear=linear, align_corners=corners))

    return _spatial(sights, first(sights, op), axes, change)


@rule(
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d"
)
def _pad(sights: Sights, op: Op) -> Sight:
    # Reflected and repeated cells lie inside the image, where the same window reaches them or their neighbours.
    amounts, shape = op.arguments.get("pad") or op.arguments["padding"], shape_of(op)
    axes = len(amounts) // 2

    def change(atom: Atom, i: int) -> Atom:
        before, count = amounts[2 * (axes - 1 - i)], shape[i - axes]
        return Atom(count, atom.axis, atom.fields.shifted(-before, 1, count))

    return _spatial(sights, first(sights, op), axes, change)


@rule("pixel_shuffle")
def _pixel_shuffle(sights: Sights, op: Op) -> Sight:
    shape = shape_of(op)

    def change(atom: Atom, i: int) -> Atom:
        return Atom(shape[i - 2], atom.axis, atom.fields.resized(atom.size, shape[i - 2]))

    sight = _spatial(sights, first(sights, op), 2, change, mixes=True)
    return Sight((*sight.dims[:-3], (Atom(shape[-3]),), *sight.dims[-2:]), sight.seen)


@rule("channel_shuffle native_channel_shuffle")
def _channel_shuffle(sights: Sights, op: Op) -> Sight:
    return along(sights, first(sights, op), [1], shape_of(op))


@rule("pixel_unshuffle")
def _pixel_unshuffle(sights: Sights, op: Op) -> Sight:
    shape, r = shape_of(op), op.arguments["downscale_factor"]

    def change(atom: Atom, i: int) -> Atom:
        return Atom(shape[i - 2], atom.axis, atom.fields.window(r, r, 0, 1, shape[i - 2]))

    sight = _spatial(sights, first(sights, op), 2, change, mixes=True)
    return Sight((*sight.dims[:-3], (Atom(shape[-3]),), *sight.dims[-2:]), sight.seen)


@rule("im2col")
def _im2col(sights: Sights, op: Op) -> Sight:
    a = op.arguments
    sizes = op.inputs[0].shape[-2:]

    def change(atom: Atom, i: int) -> Atom:
        k, s, p, d = (a[name][i] for name in ("kernel_size", "stride", "padding", "dilation"))
        count = conv_size(sizes[i], k, s, p, d)
        return Atom(count, atom.axis, atom.fields.window(k, s, p, d, count))

    sight = _spatial(sights, first(sights, op), 2, change, mixes=True)
    return Sight((*sight.dims[:-3], (Atom(shape_of(op)[-2]),), sight.dims[-2] + sight.dims[-1]), sight.seen)


@rule("unfold")
def _unfold(sights: Sights, op: Op) -> Sight:
    a, sight = op.arguments, first(sights, op)
    place = a["dimension"] % len(sight.dims)
    seen = dict(sight.seen)
    atom, count = sights.single(seen, sight.dims[place]), shape_of(op)[place]
    dims = list(sight.dims)
    dims[place] = (Atom(count, atom.axis, atom.fields.window(a["size"], a["step"], 0, 1, count)),)
    return Sight((*dims, (Atom(a["size"]),)), seen)
