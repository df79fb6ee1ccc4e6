"""What every tensor of an execution sees of the input image: the book-keeping under `follow`.

Every dimension of every tensor is kept as the atoms that it was made of: a plain atom (batch, channels, anything
that does not run along the image) or an atom along one axis of the image, with the field of each of its cells.
Reshaping regroups atoms, so an unfolded image, a shuffle of channels or a sequence of patches keeps its fields.
Where they cannot be regrouped, the outputs count as seeing all that the inputs saw together: never too little.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from convlens.geometry import FieldMap, Span, hull
from convlens.nn.private import storage

EVERY_CELL = FieldMap()  # each cell sees itself

Seen = dict[int, Span | None]


@dataclass(frozen=True)
class Atom:
    """Part of a dimension: its size, and where it runs along an axis of the image, which and what its cells see."""

    size: int
    axis: int | None = None
    fields: FieldMap = EVERY_CELL


Dim = tuple[Atom, ...]


@dataclass(frozen=True)
class TensorField:
    """What the elements of one tensor see: by dimension, and in `seen`, by axis, what all of them see alike."""

    dims: tuple[Dim, ...]
    seen: Seen = dataclasses.field(default_factory=dict)


def plain(shape: Sequence[int]) -> tuple[Dim, ...]:
    """Dimensions that do not run along the image."""
    return tuple((Atom(int(n)),) for n in shape)


def size_of(dim: Dim) -> int:
    """Elements along a dimension."""
    return prod(atom.size for atom in dim)


def union(*seen: Seen) -> Seen:
    """By axis, all that any of these see."""
    return {axis: hull(one.get(axis) for one in seen) for axis in {axis for one in seen for axis in one}}


class TensorFields:
    """What each tensor that depends on the image sees of it; `extents` are the sizes of the image's axes."""

    def __init__(self, image: Tensor):
        shape = tuple(image.shape)
        self.extents = shape[2:]
        self._known: dict[int, TensorField] = {}
        self._overwritten: dict[int, Seen] = {}  # by storage: what was written into a part of it
        if self.extents:
            axes = ((Atom(n, axis),) for axis, n in enumerate(self.extents))
            self._known[id(image)] = TensorField((*plain(shape[:2]), *axes))

    def get(self, tensor: Tensor | None) -> TensorField | None:
        """What the tensor sees; None where it does not depend on the image."""
        if tensor is None:
            return None
        field = self._known.get(id(tensor))
        overwritten = self._overwritten.get(storage(tensor)) if self._overwritten else None
        if overwritten is None:
            return field
        return TensorField(
            field.dims if field else plain(tensor.shape), union(field.seen if field else {}, overwritten)
        )

    def put(self, tensor: Tensor, field: TensorField | None) -> None:
        """Files what the tensor sees from now on."""
        if field is None:
            self._known.pop(id(tensor), None)
        else:
            self._known[id(tensor)] = field

    def overwrite_part(self, tensor: Tensor, field: TensorField) -> None:
        """A part of a larger tensor was overwritten: all of its memory counts as seeing what the part sees."""
        seen = dict(field.seen)
        self.collapse(seen, *field.dims)
        place = storage(tensor)
        self._overwritten[place] = union(self._overwritten.get(place, {}), seen)

    def fields(self, tensor: Tensor) -> tuple[FieldMap, ...] | None:
        """The fields along each axis of the image; one listed cell where all elements see the same.

        None where the tensor does not depend on the image, or where the input is no image.
        """
        field = self.get(tensor) if self.extents else None
        return None if field is None else tuple(self._along(field, axis) for axis in range(len(self.extents)))

    def _along(self, field: TensorField, axis: int) -> FieldMap:
        atoms = [atom for dim in field.dims for atom in dim if atom.axis == axis]
        seen = field.seen.get(axis)
        if len(atoms) != 1 or seen == (0, self.extents[axis] - 1):
            spans = [atom.fields.collapse(atom.size, self.extents[axis]) for atom in atoms]
            return FieldMap((hull([*spans, seen]),), None)
        if seen is None:
            return atoms[0].fields
        return atoms[0].fields.union(FieldMap((seen,) * atoms[0].size, None), atoms[0].size)

    def collapse(self, seen: Seen, *dims: Dim) -> None:
        """Adds to `seen` all that any cell of these dimensions sees."""
        for atom in (atom for dim in dims for atom in dim):
            if atom.axis is not None:
                span = atom.fields.collapse(atom.size, self.extents[atom.axis])
                seen[atom.axis] = hull([seen.get(atom.axis), span])

    def mixed(self, known: Sequence[TensorField | None], shape: Sequence[int]) -> TensorField:
        """Of outputs each of which may see all that the inputs see."""
        seen = union(*(field.seen for field in known if field))
        self.collapse(seen, *(dim for field in known if field for dim in field.dims))
        return TensorField(plain(shape), seen)

    def merged(self, seen: Seen, dims: Sequence[Dim], size: int) -> Dim:
        """One dimension of a result that is computed place by place from these dimensions of its operands."""
        for dim in dims:
            if size_of(dim) != size:  # of size 1, repeated
                self.collapse(seen, dim)
        dims = [dim for dim in dims if size_of(dim) == size and any(atom.axis is not None for atom in dim)]
        if not dims:
            return (Atom(size),)
        if len({tuple((atom.size, atom.axis) for atom in dim) for dim in dims}) > 1:
            self.collapse(seen, *dims)
            return (Atom(size),)
        result, *others = dims
        for other in others:
            result = tuple(
                a if a.axis is None else Atom(a.size, a.axis, a.fields.union(b.fields, a.size))
                for a, b in zip(result, other, strict=True)
            )
        return result

    def single(self, seen: Seen, dim: Dim) -> Atom:
        """The dimension as one atom. Repeated cells stay exact; any other mixture is collapsed."""
        outer, *inner = [atom for atom in dim if atom.size > 1 or atom.axis is not None] or [Atom(1)]
        if all(atom.axis is None for atom in inner):
            size = size_of(dim)
            fields = outer.fields if size == outer.size else outer.fields.resized(outer.size, size)
            return Atom(size, outer.axis, fields)
        self.collapse(seen, dim)
        return Atom(size_of(dim))

    def reshaped(self, field: TensorField, shape: tuple[int, ...]) -> TensorField:
        """Regroups the atoms, outermost first, splitting one where the new shape does."""
        if tuple(map(size_of, field.dims)) == shape:
            return field
        seen = dict(field.seen)
        queue = [atom for dim in field.dims for atom in dim if atom.size > 1 or atom.axis is not None]
        dims: list[Dim] = []
        for size in shape:
            dim = self._taken(seen, queue, size)
            if dim is None:
                return self.mixed([field], shape)
            dims.append(dim)
        self.collapse(seen, tuple(queue))
        return TensorField(tuple(dims), seen)

    def _taken(self, seen: Seen, queue: list[Atom], size: int) -> Dim | None:
        """Takes the atoms of one dimension of that size from the front of the queue; None if they do not fit."""
        if size == 1 and queue and queue[0].size == 1:
            return (queue.pop(0),)
        dim: list[Atom] = []
        need = size
        while need > 1 and queue:
            atom = queue.pop(0)
            if atom.size == 1:
                self.collapse(seen, (atom,))
            elif need % atom.size == 0:
                dim.append(atom)
                need //= atom.size
            elif atom.size % need == 0:
                inner = atom.size // need
                dim.append(Atom(need, atom.axis, atom.fields.window(inner, inner, 0, 1, need)))
                queue.insert(0, Atom(inner))
                need = 1
            else:
                return None
        return tuple(dim) or (Atom(size),)
