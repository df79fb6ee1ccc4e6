"""Reshaping, slicing, joining, padding and upsampling of an exported program as nodes of a graph; see `aten`."""

from math import prod
from typing import Any

from convlens.base.errors import InputError
from convlens.scratch.graph import Ref
from convlens.scratch.translation import Arguments, Builder, Out, numbers


def flatten(g: Builder, a: Arguments) -> Out:
    return g.emit("flatten", [a["self"]], start=a["start_dim"], end=a["end_dim"])


def view(g: Builder, a: Arguments) -> Out:
    shape = a["size"] if "size" in a else a["shape"]
    return g.emit("reshape", [a["self"]], shape=numbers(shape))


def unflatten(g: Builder, a: Arguments) -> Out:
    """One axis becomes several; the batch, of unknown size, may only be the first."""
    shape, place = a["self"].shape, a["dim"] % len(a["self"].shape)
    if place == 0 or None in shape[1:]:
        raise InputError("splitting the batch is not supported")
    parts, whole = list(a["sizes"]), shape[place]
    if -1 in parts and isinstance(whole, int):
        parts[parts.index(-1)] = whole // -prod(parts)
    sizes = (*shape[:place], *parts, *shape[place + 1 :])
    return g.emit("reshape", [a["self"]], shape=(-1, *sizes[1:]))


def permute(g: Builder, a: Arguments) -> Out:
    return g.emit("permute", [a["self"]], axes=numbers(a["dims"]))


def transpose(g: Builder, a: Arguments) -> Out:
    axes = list(range(len(a["self"].shape)))
    i, j = (a.get(f"dim{k}", a.get(f"axis{k}", k)) for k in (0, 1))
    if axes:
        axes[i], axes[j] = axes[j], axes[i]
    return g.emit("permute", [a["self"]], axes=tuple(axes))


def movedim(g: Builder, a: Arguments) -> Out:
    rank = len(a["self"].shape)
    sources, targets = (
        [d % rank for d in ([a[key]] if isinstance(a[key], int) else a[key])] for key in ("source", "destination")
    )
    rest = iter(i for i in range(rank) if i not in sources)
    axes = tuple(sources[targets.index(i)] if i in targets else next(rest) for i in range(rank))
    return g.emit("permute", [a["self"]], axes=axes)


def expand(g: Builder, a: Arguments) -> Out:
    return g.emit("broadcast", [a["self"]], shape=numbers(a["size"]))


def squeeze(g: Builder, a: Arguments) -> Out:
    shape = a["self"].shape
    dims = a.get("dim")
    dims = range(len(shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {d % len(shape) for d in dims if shape[d % len(shape)] == 1}
    return _take(g, a["self"], tuple(0 if i in gone else slice(None) for i in range(len(shape))))


def unsqueeze(g: Builder, a: Arguments) -> Out:
    place = a["dim"] % (len(a["self"].shape) + 1)
    return _take(g, a["self"], (*(slice(None),) * place, None))


def select(g: Builder, a: Arguments) -> Out:
    place = a["dim"] % len(a["self"].shape)
    return _take(g, a["self"], (*(slice(None),) * place, a["index"]))


def slice_(g: Builder, a: Arguments) -> Out:
    start, stop, step = a["start"], a["end"], a["step"]
    if any(isinstance(v, (Ref, Out)) for v in (start, stop, step)):
        raise InputError("a slice whose limits depend on the batch is not supported")
    stop = None if stop is None or stop >= 2**62 else stop
    start = None if start == 0 else start
    if (start, stop, step) == (None, None, 1):
        return a["self"]
    place = a["dim"] % len(a["self"].shape)
    return _take(g, a["self"], (*(slice(None),) * place, slice(start, stop, step)))


def _take(g: Builder, x: Out, index: tuple[Any, ...]) -> Out:
    return g.emit("take", [x], index=index)


def split(g: Builder, a: Arguments) -> tuple[Out, ...]:
    """Parts of the given size, or of the given sizes."""
    x, axis = a["self"], a["dim"] % len(a["self"].shape)
    size, parts = x.shape[axis], a["split_size"] if "split_size" in a else a["split_sizes"]
    if size is None:
        raise InputError("splitting the batch is not supported")
    if isinstance(parts, int):
        parts = [min(parts, size - start) for start in range(0, size, parts)]
    starts = [sum(parts[:i]) for i in range(len(parts))]
    lead = (slice(None),) * axis
    return tuple(_take(g, x, (*lead, slice(s, s + n))) for s, n in zip(starts, parts, strict=True))


def chunk(g: Builder, a: Arguments) -> tuple[Out, ...]:
    size = a["self"].shape[a["dim"]]
    if size is None:
        raise InputError("splitting the batch is not supported")
    return split(g, {"self": a["self"], "dim": a["dim"], "split_size": -(-size // a["chunks"])})


def concat(g: Builder, a: Arguments) -> Out:
    return g.emit("concat", list(a["tensors"]), axis=a["dim"])


def stack(g: Builder, a: Arguments) -> Out:
    axis = a["dim"] % (len(a["tensors"][0].shape) + 1)
    return g.emit("concat", [unsqueeze(g, {"self": t, "dim": axis}) for t in a["tensors"]], axis=axis)


def pad(g: Builder, a: Arguments) -> Out:
    flat = list(a["pad"])
    pairs = tuple((flat[i], flat[i + 1]) for i in range(len(flat) - 2, -1, -2))
    return g.emit("pad", [a["self"]], padding=pairs, value=float(a.get("value") or 0), mode=a.get("mode", "constant"))


def upsample_nearest(g: Builder, a: Arguments) -> Out:
    return g.emit("upsample_nearest", [_image(a)], **_scaling(a))


def upsample_bilinear(g: Builder, a: Arguments) -> Out:
    return g.emit("upsample_bilinear", [_image(a)], **_scaling(a), align_corners=a["align_corners"])


def _image(a: Arguments) -> Out:
    return a["input"] if "input" in a else a["self"]


def _scaling(a: Arguments) -> dict[str, Any]:
    if a.get("output_size") is not None:
        return {"size": numbers(a["output_size"])}
    return {"scale": numbers(a["scale_factors"])}


def same(g: Builder, a: Arguments) -> Out:
    """Operations that leave the numbers as they are."""
    return a["self"] if "self" in a else a["input"]


def clone(g: Builder, a: Arguments) -> Out:
    return g.emit("identity", [same(g, a)])


def detach(g: Builder, a: Arguments) -> Out:
    return g.emit("stop_gradient", [a["self"]])
