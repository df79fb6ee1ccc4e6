"""Receptive fields after operations that move numbers without changing them. See `receptive_rules`."""

from itertools import accumulate, pairwise
from math import prod

from convlens.geometry import FieldMap
from convlens.inspection.graph import Op
from convlens.inspection.receptive_rules import Result, along, anything, first, rule, shape_of
from convlens.inspection.sights import Atom, Sight, Sights, plain, union


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
    return along(sights, first(sights, op), [place], shape_of(op))


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
