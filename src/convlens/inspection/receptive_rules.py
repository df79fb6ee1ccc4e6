"""What each operation of PyTorch's ATen library does to receptive fields: one function a family, listed in `RULES`.

A rule gets the fields known so far and the operation, and gives what its outputs see: one `Sight` for all of them,
or a list, or None where they do not depend on the image. An operation without a rule is `anything`.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import Any

from convlens.geometry import FieldMap, conv_size
from convlens.inspection.graph import Op
from convlens.inspection.sights import Atom, Dim, Sight, Sights, plain, union

Result = Sight | list[Sight] | None
RULES: dict[str, Callable[[Sights, Op], Result]] = {}


def rule(names: str) -> Callable[[Callable[[Sights, Op], Result]], Callable[[Sights, Op], Result]]:
    """Registers a function under the names of operations, without the trailing underscore of the in-place forms."""

    def add(function: Callable[[Sights, Op], Result]) -> Callable[[Sights, Op], Result]:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return add


def apply(sights: Sights, op: Op) -> Result:
    """What the outputs of any operation see."""
    found = RULES.get(op.name.rstrip("_")) or (pointwise if op.is_pointwise else anything)
    return found(sights, op)


def shape_of(op: Op) -> tuple[int, ...]:
    """Shape of the first output."""
    return tuple(next(output for output in op.outputs if output is not None).shape)


def first(sights: Sights, op: Op) -> Sight:
    """What the first tensor among the inputs sees; where it does not depend on the image, nothing."""
    tensor = op.inputs[0]
    return sights.get(tensor) or Sight(plain(tensor.shape))


def pointwise(sights: Sights, op: Op) -> Sight:
    """Each output element sees what the input elements at its place see; broadcasting as PyTorch does."""
    operands = [sight for tensor in op.inputs if (sight := sights.get(tensor))]
    shape, seen = shape_of(op), union(*(sight.seen for sight in operands))
    dims: list[Dim] = []
    for place in range(-len(shape), 0):
        here = [sight.dims[place] for sight in operands if len(sight.dims) >= -place]
        dims.append(sights.merged(seen, here, shape[place]))
    return Sight(tuple(dims), seen)


def anything(sights: Sights, op: Op) -> list[Sight]:
    """Each output element may see all that the inputs see."""
    operands = [sights.get(tensor) for tensor in op.inputs]
    return [sights.mixed(operands, tuple(output.shape) if output is not None else ()) for output in op.outputs]


@rule("zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty")
def _constant(sights: Sights, op: Op) -> None:
    return None


@rule("alias detach clone lift_fresh contiguous _to_copy dropout native_dropout expand expand_as")
def _same(sights: Sights, op: Op) -> Sight:
    return pointwise(sights, op)


@rule("copy")
def _copy(sights: Sights, op: Op) -> Sight | None:
    source = sights.get(op.arguments["src"])
    if source is None:
        return None
    seen, shape = dict(source.seen), shape_of(op)
    dims = plain([1]) * (len(shape) - len(source.dims)) + source.dims
    return Sight(tuple(sights.merged(seen, [dim], n) for dim, n in zip(dims, shape, strict=True)), seen)


# Windows


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
    return _along(sights, first(sights, op), [1], shape_of(op))


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


# Normalisation and reduction


@rule("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm")
def _batch_norm(sights: Sights, op: Op) -> Result:
    sight = first(sights, op)
    if not op.arguments.get("training", False):
        return sight
    seen = dict(sight.seen)  # statistics of the batch, or of one image (instance norm)
    sights.collapse(seen, *sight.dims)
    return Sight(plain(shape_of(op)), seen)


@rule("native_group_norm")
def _group_norm(sights: Sights, op: Op) -> Sight:
    sight = first(sights, op)
    seen = dict(sight.seen)
    sights.collapse(seen, *sight.dims[1:])
    return Sight((sight.dims[0], *plain(shape_of(op)[1:])), seen)


@rule("native_layer_norm")
def _layer_norm(sights: Sights, op: Op) -> Sight:
    sight = first(sights, op)
    places = range(len(sight.dims) - len(op.arguments["normalized_shape"]), len(sight.dims))
    return _along(sights, sight, places, shape_of(op))


@rule("_softmax _log_softmax cumsum cumprod sort")
def _softmax(sights: Sights, op: Op) -> Sight:
    return _along(sights, first(sights, op), [op.arguments["dim"]], shape_of(op))


def _along(sights: Sights, sight: Sight, places: Sequence[int], shape: Sequence[int]) -> Sight:
    """The cells of these dimensions all see each other; the shape stays."""
    seen, dims = dict(sight.seen), list(sight.dims)
    for place in (p % len(dims) for p in places):
        sights.collapse(seen, dims[place])
        dims[place] = (Atom(shape[place]),)
    return Sight(tuple(dims), seen)


@rule(
    "mean sum amax amin prod var std max min argmax argmin any all logsumexp var_mean std_mean linalg_vector_norm norm"
)
def _reduction(sights: Sights, op: Op) -> Result:
    if len([t for t in op.inputs if sights.get(t)]) > 1:  # max and min of two tensors
        return pointwise(sights, op)
    sight = first(sights, op)
    wanted = op.arguments.get("dim")
    wanted = [wanted] if isinstance(wanted, int) else wanted or range(len(sight.dims))
    places = {place % len(sight.dims) for place in wanted}
    whole = _along(sights, sight, sorted(places), [1] * len(sight.dims))
    if op.arguments.get("keepdim"):
        return whole
    return Sight(tuple(dim for place, dim in enumerate(whole.dims) if place not in places), whole.seen)


# Matrix products


def _product(sights: Sights, op: Op, left: Sight | None, right: Sight | None) -> Sight:
    """[..., i, k] times [..., k, j]: rows see what the left rows see, and so on; what is summed over is collapsed."""
    shape = shape_of(op)
    seen = union(*(sight.seen for sight in (left, right) if sight))
    rows = left.dims[-2] if left else (Atom(shape[-2]),)
    columns = right.dims[-1] if right else (Atom(shape[-1]),)
    if left:
        sights.collapse(seen, left.dims[-1])
    if right:
        sights.collapse(seen, right.dims[-2])
    batch = tuple(
        sights.merged(seen, [sight.dims[place] for sight in (left, right) if sight], shape[place])
        for place in range(len(shape) - 2)
    )
    return Sight((*batch, rows, columns), seen)


@rule("mm bmm addmm baddbmm")
def _matmul(sights: Sights, op: Op) -> Sight:
    *offset, left, right = op.inputs[:3]
    product = _product(sights, op, sights.get(left), sights.get(right))
    seen = dict(product.seen)
    for sight in filter(None, map(sights.get, offset)):
        seen = union(seen, sight.seen)
        sights.collapse(seen, *sight.dims)
    return Sight(product.dims, seen)


@rule(
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention"
)
def _attention(sights: Sights, op: Op) -> Sight:
    query, *others = (sights.get(tensor) for tensor in op.inputs)
    shape = shape_of(op)
    mixed = sights.mixed(others, shape)
    if query is None:
        return mixed
    seen = union(mixed.seen, query.seen)
    sights.collapse(seen, query.dims[-1])
    return Sight((*query.dims[:-1], (Atom(shape[-1]),)), seen)


# Shapes


@rule("view _unsafe_view reshape _reshape_alias flatten unflatten")
def _view(sights: Sights, op: Op) -> Sight:
    return sights.reshaped(first(sights, op), shape_of(op))


@rule("permute t transpose")
def _permute(sights: Sights, op: Op) -> Sight:
    sight, a = first(sights, op), op.arguments
    order = list(range(len(sight.dims)))
    if op.name.startswith("permute"):
        order = [place % len(order) for place in a["dims"]]
    elif order:
        one, other = (a["dim0"], a["dim1"]) if "dim0" in a else (0, -1)
        order[one], order[other] = order[other], order[one]
    return Sight(tuple(sight.dims[place] for place in order), sight.seen)


@rule("unsqueeze")
def _unsqueeze(sights: Sights, op: Op) -> Sight:
    sight = first(sights, op)
    place = op.arguments["dim"] % (len(sight.dims) + 1)
    return Sight((*sight.dims[:place], (Atom(1),), *sight.dims[place:]), sight.seen)


@rule("squeeze")
def _squeeze(sights: Sights, op: Op) -> Sight:
    sight = first(sights, op)
    wanted = op.arguments.get("dim")
    wanted = [wanted] if isinstance(wanted, int) else range(len(sight.dims)) if wanted is None else wanted
    sizes = [prod(atom.size for atom in dim) for dim in sight.dims]
    gone = {place % len(sizes) for place in wanted if sizes[place] == 1}
    seen = dict(sight.seen)
    sights.collapse(seen, *(sight.dims[place] for place in gone))
    return Sight(tuple(dim for place, dim in enumerate(sight.dims) if place not in gone), seen)


@rule("select")
def _select(sights: Sights, op: Op) -> Sight:
    sight, a = first(sights, op), op.arguments
    place = a["dim"] % len(sight.dims)
    size = prod(atom.size for atom in sight.dims[place])
    part = _cut(sights, sight, place, a["index"] % size, 1, 1)
    seen = dict(part.seen)
    sights.collapse(seen, part.dims[place])
    return Sight((*part.dims[:place], *part.dims[place + 1 :]), seen)


@rule("slice")
def _slice(sights: Sights, op: Op) -> Sight:
    sight, a = first(sights, op), op.arguments
    place = a["dim"] % len(sight.dims)
    size = prod(atom.size for atom in sight.dims[place])
    start = a["start"] or 0
    start = min(max(start + size if start < 0 else start, 0), size)
    return _cut(sights, sight, place, start, a["step"], shape_of(op)[place])


def _cut(sights: Sights, sight: Sight, place: int, start: int, step: int, count: int) -> Sight:
    seen = dict(sight.seen)
    if count == prod(atom.size for atom in sight.dims[place]):
        return sight
    atom = sights.single(seen, sight.dims[place])
    part = Atom(count, atom.axis, atom.fields.shifted(start, step, count))
    return Sight((*sight.dims[:place], (part,), *sight.dims[place + 1 :]), seen)


@rule("split split_with_sizes chunk tensor_split unbind")
def _split(sights: Sights, op: Op) -> list[Sight]:
    sight = first(sights, op)
    place = op.arguments["dim"] % len(sight.dims)
    if op.name == "unbind":
        return anything(sights, op)
    sizes = [output.shape[place] for output in op.outputs if output is not None]
    return [_cut(sights, sight, place, a, 1, b - a) for a, b in pairwise(accumulate(sizes, initial=0))]


@rule("flip")
def _flip(sights: Sights, op: Op) -> Sight:
    sight = first(sights, op)
    seen, dims = dict(sight.seen), list(sight.dims)
    for place in (p % len(dims) for p in op.arguments["dims"]):
        atom = sights.single(seen, dims[place])
        n = atom.size
        fields = atom.fields.through(lambda j, n=n: (n - 1 - j,), n, rise=-1)
        dims[place] = (Atom(n, atom.axis, fields),)
    return Sight(tuple(dims), seen)


@rule("index_select")
def _index_select(sights: Sights, op: Op) -> Sight:
    return _picked(sights, op, op.arguments["dim"])


@rule("index")
def _index(sights: Sights, op: Op) -> Result:
    indices = op.arguments["indices"]
    used = [place for place, index in enumerate(indices) if index is not None]
    if len(used) != 1 or indices[used[0]].dim() != 1 or sights.get(indices[used[0]]):
        return anything(sights, op)
    return _picked(sights, op, used[0])


@rule("glu")
def _glu(sights: Sights, op: Op) -> Sight:
    return _picked(sights, op, op.arguments["dim"])


def _picked(sights: Sights, op: Op, place: int) -> Sight:
    """Some cells of one dimension, which are not known: each may be any of them."""
    return _along(sights, first(sights, op), [place], shape_of(op))


@rule("cat")
def _cat(sights: Sights, op: Op) -> Sight:
    tensors, shape = [t for t in op.arguments["tensors"] if t.dim() == len(shape_of(op))], shape_of(op)
    place = op.arguments["dim"] % len(shape)
    known = [sights.get(tensor) or Sight(plain(tensor.shape)) for tensor in tensors]
    seen = union(*(sight.seen for sight in known))
    dims = [
        (Atom(n),) if other == place else sights.merged(seen, [sight.dims[other] for sight in known], n)
        for other, n in enumerate(shape)
    ]
    atoms = [sights.single(seen, sight.dims[place]) for sight in known]
    axes = {atom.axis for atom in atoms} - {None}
    if len(axes) == 1:
        cells = [None if a.axis is None else a.fields.at(i) for a in atoms for i in range(a.size)]
        dims[place] = (Atom(len(cells), axes.pop(), FieldMap(tuple(cells), None)),)
    elif axes:
        sights.collapse(seen, tuple(atoms))
    return Sight(tuple(dims), seen)


@rule("stack")
def _stack(sights: Sights, op: Op) -> Sight:
    shape = shape_of(op)
    place = op.arguments["dim"] % len(shape)
    known = [sight for tensor in op.arguments["tensors"] if (sight := sights.get(tensor))]
    seen = union(*(sight.seen for sight in known))
    rest = [n for other, n in enumerate(shape) if other != place]
    dims = [sights.merged(seen, [sight.dims[other] for sight in known], n) for other, n in enumerate(rest)]
    return Sight((*dims[:place], (Atom(shape[place]),), *dims[place:]), seen)


@rule("repeat")
def _repeat(sights: Sights, op: Op) -> Sight:
    sight, shape = first(sights, op), shape_of(op)
    seen = dict(sight.seen)
    old = plain([1]) * (len(shape) - len(sight.dims)) + sight.dims
    return Sight(tuple(sights.merged(seen, [dim], n) for dim, n in zip(old, shape, strict=True)), seen)
