"""Receptive fields after windows: convolution, pooling, resizing, padding, unfolding. See `rules`."""

from collections.abc import Callable
from math import prod
from typing import Any

from convlens.geometry import conv_size
from convlens.inspection.fields.rules import along, first, rule, shape_of
from convlens.inspection.fields.tensors import Atom, TensorField, TensorFields, union
from convlens.inspection.probe import Op


def _per_axis(value: Any, axes: int, default: int = 0) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return [default] * axes if not values else values * axes if len(values) < axes else values


def _spatial(
    known: TensorFields, field: TensorField, axes: int, change: Callable[[Atom, int], Atom], mixes: bool = False
) -> TensorField:
    """Applies `change(atom, number)` to the last dimensions; with `mixes`, the channels before them are mixed."""
    seen = dict(field.seen)
    before = field.dims[:-axes]
    if mixes:
        known.collapse(seen, before[-1])
        before = (*before[:-1], (Atom(prod(atom.size for atom in before[-1])),))
    atoms = [known.single(seen, dim) for dim in field.dims[-axes:]]
    return TensorField((*before, *((change(atom, number),) for number, atom in enumerate(atoms))), seen)


@rule("convolution mkldnn_convolution")
def _convolution(known: TensorFields, op: Op) -> TensorField:
    a, shape = op.arguments, shape_of(op)
    kernel = tuple(a["weight"].shape[2:])
    axes = len(kernel)
    stride, dilation = _per_axis(a["stride"], axes), _per_axis(a["dilation"], axes)
    before = _per_axis(a["padding"], axes)

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        through = atom.fields.transposed if a.get("transposed") else atom.fields.window
        return Atom(count, atom.axis, through(kernel[i], stride[i], before[i], dilation[i], count))

    field = _spatial(known, first(known, op), axes, change, mixes=True)
    seen = dict(field.seen)
    for tensor in op.inputs[1:]:  # weights that depend on the image
        if extra := known.get(tensor):
            seen = union(seen, extra.seen)
            known.collapse(seen, *extra.dims)
    return TensorField((*field.dims[: -axes - 1], (Atom(shape[-axes - 1]),), *field.dims[-axes:]), seen)


@rule(
    "max_pool1d max_pool2d_with_indices max_pool3d_with_indices "
    "max_pool1d_with_indices avg_pool1d avg_pool2d avg_pool3d"
)
def _pooling(known: TensorFields, op: Op) -> TensorField:
    a, shape = op.arguments, shape_of(op)
    axes = int(op.name[op.name.index("pool") + 4])
    kernel = _per_axis(a["kernel_size"], axes)
    stride = _per_axis(a["stride"] or kernel, axes)
    before, dilation = _per_axis(a["padding"], axes), _per_axis(a.get("dilation", 1), axes)

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        return Atom(count, atom.axis, atom.fields.window(kernel[i], stride[i], before[i], dilation[i], count))

    return _spatial(known, first(known, op), axes, change)


@rule("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d")
def _adaptive(known: TensorFields, op: Op) -> TensorField:
    shape, field = shape_of(op), first(known, op)
    axes = int(op.name[-2])
    seen = dict(field.seen)
    for dim, count in zip(field.dims[-axes:], shape[-axes:], strict=True):
        if count == 1:
            known.collapse(seen, dim)

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        return Atom(1) if count == 1 else Atom(count, atom.axis, atom.fields.adaptive(atom.size, count))

    return _spatial(known, TensorField(field.dims, seen), axes, change)


@rule(
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d "
    "upsample_linear1d upsample_bilinear2d upsample_trilinear3d"
)
def _upsample(known: TensorFields, op: Op) -> TensorField:
    shape, linear = shape_of(op), "linear" in op.name
    corners = bool(op.arguments.get("align_corners"))
    axes = int(op.name[-2])

    def change(atom: Atom, i: int) -> Atom:
        count = shape[i - axes]
        return Atom(count, atom.axis, atom.fields.resized(atom.size, count, linear=linear, align_corners=corners))

    return _spatial(known, first(known, op), axes, change)


@rule(
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d"
)
def _pad(known: TensorFields, op: Op) -> TensorField:
    # Reflected and repeated cells lie inside the image, where the same window reaches them or their neighbors.
    amounts, shape = op.arguments.get("pad") or op.arguments["padding"], shape_of(op)
    axes = len(amounts) // 2

    def change(atom: Atom, i: int) -> Atom:
        before, count = amounts[2 * (axes - 1 - i)], shape[i - axes]
        return Atom(count, atom.axis, atom.fields.shifted(-before, 1, count))

    return _spatial(known, first(known, op), axes, change)


@rule("pixel_shuffle")
def _pixel_shuffle(known: TensorFields, op: Op) -> TensorField:
    shape = shape_of(op)

    def change(atom: Atom, i: int) -> Atom:
        return Atom(shape[i - 2], atom.axis, atom.fields.resized(atom.size, shape[i - 2]))

    field = _spatial(known, first(known, op), 2, change, mixes=True)
    return TensorField((*field.dims[:-3], (Atom(shape[-3]),), *field.dims[-2:]), field.seen)


@rule("channel_shuffle native_channel_shuffle")
def _channel_shuffle(known: TensorFields, op: Op) -> TensorField:
    return along(known, first(known, op), [1], shape_of(op))


@rule("pixel_unshuffle")
def _pixel_unshuffle(known: TensorFields, op: Op) -> TensorField:
    shape, r = shape_of(op), op.arguments["downscale_factor"]

    def change(atom: Atom, i: int) -> Atom:
        return Atom(shape[i - 2], atom.axis, atom.fields.window(r, r, 0, 1, shape[i - 2]))

    field = _spatial(known, first(known, op), 2, change, mixes=True)
    return TensorField((*field.dims[:-3], (Atom(shape[-3]),), *field.dims[-2:]), field.seen)


@rule("im2col")
def _im2col(known: TensorFields, op: Op) -> TensorField:
    a = op.arguments
    sizes = op.inputs[0].shape[-2:]

    def change(atom: Atom, i: int) -> Atom:
        k, s, p, d = (a[name][i] for name in ("kernel_size", "stride", "padding", "dilation"))
        count = conv_size(sizes[i], k, s, p, d)
        return Atom(count, atom.axis, atom.fields.window(k, s, p, d, count))

    field = _spatial(known, first(known, op), 2, change, mixes=True)
    return TensorField((*field.dims[:-3], (Atom(shape_of(op)[-2]),), field.dims[-2] + field.dims[-1]), field.seen)


@rule("unfold")
def _unfold(known: TensorFields, op: Op) -> TensorField:
    a, field = op.arguments, first(known, op)
    place = a["dimension"] % len(field.dims)
    seen = dict(field.seen)
    atom, count = known.single(seen, field.dims[place]), shape_of(op)[place]
    dims = list(field.dims)
    dims[place] = (Atom(count, atom.axis, atom.fields.window(a["size"], a["step"], 0, 1, count)),)
    return TensorField((*dims, (Atom(a["size"]),)), seen)
