"""What each operation of PyTorch's ATen library does to receptive fields: one function a family, listed in `RULES`.

Here: elementwise operations, normalisation, reductions and matrix products; `receptive_windows` and `receptive_shapes`
add theirs. A rule gets the fields known so far and the operation, and gives what its outputs see: one `Sight` for all
of them, or a list, or None where they do not depend on the image. An operation without a rule is `anything`.
"""

from collections.abc import Callable, Sequence

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
    return along(sights, sight, places, shape_of(op))


@rule("_softmax _log_softmax cumsum cumprod sort")
def _softmax(sights: Sights, op: Op) -> Sight:
    return along(sights, first(sights, op), [op.arguments["dim"]], shape_of(op))


def along(sights: Sights, sight: Sight, places: Sequence[int], shape: Sequence[int]) -> Sight:
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
    whole = along(sights, sight, sorted(places), [1] * len(sight.dims))
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
