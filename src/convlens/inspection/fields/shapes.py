"""Receptive fields after operations that move numbers without changing them. See `rules`."""

from itertools import accumulate, pairwise
from math import prod

from convlens.geometry import FieldMap
from convlens.inspection.fields.rules import Result, along, anything, first, rule, shape_of
from convlens.inspection.fields.tensors import Atom, TensorField, TensorFields, plain, union
from convlens.inspection.probe import Op


@rule("view _unsafe_view reshape _reshape_alias flatten unflatten")
def _view(known: TensorFields, op: Op) -> TensorField:
    return known.reshaped(first(known, op), shape_of(op))


@rule("permute t transpose")
def _permute(known: TensorFields, op: Op) -> TensorField:
    field, a = first(known, op), op.arguments
    order = list(range(len(field.dims)))
    if op.name.startswith("permute"):
        order = [place % len(order) for place in a["dims"]]
    elif order:
        one, other = (a["dim0"], a["dim1"]) if "dim0" in a else (0, -1)
        order[one], order[other] = order[other], order[one]
    return TensorField(tuple(field.dims[place] for place in order), field.seen)


@rule("unsqueeze")
def _unsqueeze(known: TensorFields, op: Op) -> TensorField:
    field = first(known, op)
    place = op.arguments["dim"] % (len(field.dims) + 1)
    return TensorField((*field.dims[:place], (Atom(1),), *field.dims[place:]), field.seen)


@rule("squeeze")
def _squeeze(known: TensorFields, op: Op) -> TensorField:
    field = first(known, op)
    wanted = op.arguments.get("dim")
    wanted = [wanted] if isinstance(wanted, int) else range(len(field.dims)) if wanted is None else wanted
    sizes = [prod(atom.size for atom in dim) for dim in field.dims]
    gone = {place % len(sizes) for place in wanted if sizes[place] == 1}
    seen = dict(field.seen)
    known.collapse(seen, *(field.dims[place] for place in gone))
    return TensorField(tuple(dim for place, dim in enumerate(field.dims) if place not in gone), seen)


@rule("select")
def _select(known: TensorFields, op: Op) -> TensorField:
    field, a = first(known, op), op.arguments
    place = a["dim"] % len(field.dims)
    size = prod(atom.size for atom in field.dims[place])
    part = _cut(known, field, place, a["index"] % size, 1, 1)
    seen = dict(part.seen)
    known.collapse(seen, part.dims[place])
    return TensorField((*part.dims[:place], *part.dims[place + 1 :]), seen)


@rule("slice")
def _slice(known: TensorFields, op: Op) -> TensorField:
    field, a = first(known, op), op.arguments
    place = a["dim"] % len(field.dims)
    size = prod(atom.size for atom in field.dims[place])
    start = a["start"] or 0
    start = min(max(start + size if start < 0 else start, 0), size)
    return _cut(known, field, place, start, a["step"], shape_of(op)[place])


def _cut(known: TensorFields, field: TensorField, place: int, start: int, step: int, count: int) -> TensorField:
    seen = dict(field.seen)
    if count == prod(atom.size for atom in field.dims[place]):
        return field
    atom = known.single(seen, field.dims[place])
    part = Atom(count, atom.axis, atom.fields.shifted(start, step, count))
    return TensorField((*field.dims[:place], (part,), *field.dims[place + 1 :]), seen)


@rule("split split_with_sizes chunk tensor_split unbind")
def _split(known: TensorFields, op: Op) -> list[TensorField]:
    field = first(known, op)
    place = op.arguments["dim"] % len(field.dims)
    if op.name == "unbind":
        return anything(known, op)
    sizes = [output.shape[place] for output in op.outputs if output is not None]
    return [_cut(known, field, place, a, 1, b - a) for a, b in pairwise(accumulate(sizes, initial=0))]


@rule("flip")
def _flip(known: TensorFields, op: Op) -> TensorField:
    field = first(known, op)
    seen, dims = dict(field.seen), list(field.dims)
    for place in (p % len(dims) for p in op.arguments["dims"]):
        atom = known.single(seen, dims[place])
        n = atom.size
        fields = atom.fields.through(lambda j, n=n: (n - 1 - j,), n, rise=-1)
        dims[place] = (Atom(n, atom.axis, fields),)
    return TensorField(tuple(dims), seen)


@rule("index_select")
def _index_select(known: TensorFields, op: Op) -> TensorField:
    return _picked(known, op, op.arguments["dim"])


@rule("index")
def _index(known: TensorFields, op: Op) -> Result:
    indices = op.arguments["indices"]
    used = [place for place, index in enumerate(indices) if index is not None]
    if len(used) != 1 or indices[used[0]].dim() != 1 or known.get(indices[used[0]]):
        return anything(known, op)
    return _picked(known, op, used[0])


@rule("glu")
def _glu(known: TensorFields, op: Op) -> TensorField:
    return _picked(known, op, op.arguments["dim"])


def _picked(known: TensorFields, op: Op, place: int) -> TensorField:
    """Some cells of one dimension, which are not known: each may be any of them."""
    return along(known, first(known, op), [place], shape_of(op))


@rule("cat")
def _cat(known: TensorFields, op: Op) -> TensorField:
    tensors, shape = [t for t in op.arguments["tensors"] if t.dim() == len(shape_of(op))], shape_of(op)
    place = op.arguments["dim"] % len(shape)
    parts = [known.get(tensor) or TensorField(plain(tensor.shape)) for tensor in tensors]
    seen = union(*(field.seen for field in parts))
    dims = [
        (Atom(n),) if other == place else known.merged(seen, [field.dims[other] for field in parts], n)
        for other, n in enumerate(shape)
    ]
    atoms = [known.single(seen, field.dims[place]) for field in parts]
    axes = {atom.axis for atom in atoms} - {None}
    if len(axes) == 1:
        cells = [None if a.axis is None else a.fields.at(i) for a in atoms for i in range(a.size)]
        dims[place] = (Atom(len(cells), axes.pop(), FieldMap(tuple(cells), None)),)
    elif axes:
        known.collapse(seen, tuple(atoms))
    return TensorField(tuple(dims), seen)


@rule("stack")
def _stack(known: TensorFields, op: Op) -> TensorField:
    shape = shape_of(op)
    place = op.arguments["dim"] % len(shape)
    parts = [field for tensor in op.arguments["tensors"] if (field := known.get(tensor))]
    seen = union(*(field.seen for field in parts))
    rest = [n for other, n in enumerate(shape) if other != place]
    dims = [known.merged(seen, [field.dims[other] for field in parts], n) for other, n in enumerate(rest)]
    return TensorField((*dims[:place], (Atom(shape[place]),), *dims[place:]), seen)


@rule("repeat")
def _repeat(known: TensorFields, op: Op) -> TensorField:
    field, shape = first(known, op), shape_of(op)
    seen = dict(field.seen)
    old = plain([1]) * (len(shape) - len(field.dims)) + field.dims
    return TensorField(tuple(known.merged(seen, [dim], n) for dim, n in zip(old, shape, strict=True)), seen)
