"""What each operation of PyTorch's ATen library does to receptive fields: one function a family, listed in `RULES`.

Here: elementwise operations, normalization, reductions and matrix products; `windows` and `shapes` add theirs. A rule
gets the fields known so far and the operation, and gives what its outputs see: one `TensorField` for all of them, or a
list, or None where they do not depend on the image. An operation without a rule is `anything`.
"""

from collections.abc import Callable, Sequence

from convlens.inspection.fields.tensors import Atom, Dim, TensorField, TensorFields, plain, union
from convlens.inspection.probe import Op

Result = TensorField | list[TensorField] | None
RULES: dict[str, Callable[[TensorFields, Op], Result]] = {}


def rule(names: str) -> Callable[[Callable[[TensorFields, Op], Result]], Callable[[TensorFields, Op], Result]]:
    """Registers a function under the names of operations, without the trailing underscore of the in-place forms."""

    def add(function: Callable[[TensorFields, Op], Result]) -> Callable[[TensorFields, Op], Result]:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return add


def apply(known: TensorFields, op: Op) -> Result:
    """What the outputs of any operation see."""
    found = RULES.get(op.name.rstrip("_")) or (pointwise if op.is_pointwise else anything)
    return found(known, op)


def shape_of(op: Op) -> tuple[int, ...]:
    """Shape of the first output."""
    return tuple(next(output for output in op.outputs if output is not None).shape)


def first(known: TensorFields, op: Op) -> TensorField:
    """What the first tensor among the inputs sees; where it does not depend on the image, nothing."""
    tensor = op.inputs[0]
    return known.get(tensor) or TensorField(plain(tensor.shape))


def pointwise(known: TensorFields, op: Op) -> TensorField:
    """Each output element sees what the input elements at its place see; broadcasting as PyTorch does."""
    operands = [field for tensor in op.inputs if (field := known.get(tensor))]
    shape, seen = shape_of(op), union(*(field.seen for field in operands))
    dims: list[Dim] = []
    for place in range(-len(shape), 0):
        here = [field.dims[place] for field in operands if len(field.dims) >= -place]
        dims.append(known.merged(seen, here, shape[place]))
    return TensorField(tuple(dims), seen)


def anything(known: TensorFields, op: Op) -> list[TensorField]:
    """Each output element may see all that the inputs see."""
    operands = [known.get(tensor) for tensor in op.inputs]
    return [known.mixed(operands, tuple(output.shape) if output is not None else ()) for output in op.outputs]


@rule("zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty")
def _constant(known: TensorFields, op: Op) -> None:
    return None


@rule("alias detach clone lift_fresh contiguous _to_copy dropout native_dropout expand expand_as")
def _same(known: TensorFields, op: Op) -> TensorField:
    return pointwise(known, op)


@rule("copy")
def _copy(known: TensorFields, op: Op) -> TensorField | None:
    source = known.get(op.arguments["src"])
    if source is None:
        return None
    seen, shape = dict(source.seen), shape_of(op)
    dims = plain([1]) * (len(shape) - len(source.dims)) + source.dims
    return TensorField(tuple(known.merged(seen, [dim], n) for dim, n in zip(dims, shape, strict=True)), seen)


# Normalization and reduction


@rule("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm")
def _batch_norm(known: TensorFields, op: Op) -> Result:
    field = first(known, op)
    if not op.arguments.get("training", False):
        return field
    seen = dict(field.seen)  # statistics of the batch, or of one image (instance norm)
    known.collapse(seen, *field.dims)
    return TensorField(plain(shape_of(op)), seen)


@rule("native_group_norm")
def _group_norm(known: TensorFields, op: Op) -> TensorField:
    field = first(known, op)
    seen = dict(field.seen)
    known.collapse(seen, *field.dims[1:])
    return TensorField((field.dims[0], *plain(shape_of(op)[1:])), seen)


@rule("native_layer_norm")
def _layer_norm(known: TensorFields, op: Op) -> TensorField:
    field = first(known, op)
    places = range(len(field.dims) - len(op.arguments["normalized_shape"]), len(field.dims))
    return along(known, field, places, shape_of(op))


@rule("_softmax _log_softmax cumsum cumprod sort")
def _softmax(known: TensorFields, op: Op) -> TensorField:
    return along(known, first(known, op), [op.arguments["dim"]], shape_of(op))


def along(known: TensorFields, field: TensorField, places: Sequence[int], shape: Sequence[int]) -> TensorField:
    """The cells of these dimensions all see each other; the shape stays."""
    seen, dims = dict(field.seen), list(field.dims)
    for place in (p % len(dims) for p in places):
        known.collapse(seen, dims[place])
        dims[place] = (Atom(shape[place]),)
    return TensorField(tuple(dims), seen)


@rule(
    "mean sum amax amin prod var std max min argmax argmin any all logsumexp var_mean std_mean linalg_vector_norm norm"
)
def _reduction(known: TensorFields, op: Op) -> Result:
    if len([t for t in op.inputs if known.get(t)]) > 1:  # max and min of two tensors
        return pointwise(known, op)
    field = first(known, op)
    wanted = op.arguments.get("dim")
    wanted = [wanted] if isinstance(wanted, int) else wanted or range(len(field.dims))
    places = {place % len(field.dims) for place in wanted}
    whole = along(known, field, sorted(places), [1] * len(field.dims))
    if op.arguments.get("keepdim"):
        return whole
    return TensorField(tuple(dim for place, dim in enumerate(whole.dims) if place not in places), whole.seen)


# Matrix products


def _product(known: TensorFields, op: Op, left: TensorField | None, right: TensorField | None) -> TensorField:
    """[..., i, k] times [..., k, j]: rows see what the left rows see, and so on; what is summed over is collapsed."""
    shape = shape_of(op)
    seen = union(*(field.seen for field in (left, right) if field))
    rows = left.dims[-2] if left else (Atom(shape[-2]),)
    columns = right.dims[-1] if right else (Atom(shape[-1]),)
    if left:
        known.collapse(seen, left.dims[-1])
    if right:
        known.collapse(seen, right.dims[-2])
    batch = tuple(
        known.merged(seen, [field.dims[place] for field in (left, right) if field], shape[place])
        for place in range(len(shape) - 2)
    )
    return TensorField((*batch, rows, columns), seen)


@rule("mm bmm addmm baddbmm")
def _matmul(known: TensorFields, op: Op) -> TensorField:
    *offset, left, right = op.inputs[:3]
    product = _product(known, op, known.get(left), known.get(right))
    seen = dict(product.seen)
    for field in filter(None, map(known.get, offset)):
        seen = union(seen, field.seen)
        known.collapse(seen, *field.dims)
    return TensorField(product.dims, seen)


@rule(
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention"
)
def _attention(known: TensorFields, op: Op) -> TensorField:
    query, *others = (known.get(tensor) for tensor in op.inputs)
    shape = shape_of(op)
    mixed = known.mixed(others, shape)
    if query is None:
        return mixed
    seen = union(mixed.seen, query.seen)
    known.collapse(seen, query.dims[-1])
    return TensorField((*query.dims[:-1], (Atom(shape[-1]),)), seen)
