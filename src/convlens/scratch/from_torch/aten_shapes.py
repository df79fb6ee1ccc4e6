"""Reshaping, slicing, joining, padding and upsampling of an exported program as nodes of a graph; see `aten`."""

from typing import Any

from convlens.base.errors import InputError
from convlens.scratch.from_torch.translation import Arguments, Builder, Handler, Out, cast, numbers
from convlens.scratch.graph import Ref


def flatten(g: Builder, a: Arguments) -> Out:
    return g.emit("flatten", [a["self"]], start=a["start_dim"], end=a["end_dim"])


def view(g: Builder, a: Arguments) -> Out:
    shape = a["size"] if "size" in a else a["shape"]
    return g.emit("reshape", [a["self"]], shape=numbers(shape))


def unflatten(g: Builder, a: Arguments) -> Out:
    """One axis becomes several; one of them may be -1."""
    x, place = a["self"], a["dim"] % len(a["self"].shape)
    sizes = [g.size(x, axis) for axis in range(len(x.shape)) if axis != place]
    return g.emit("reshape", [x], shape=(*sizes[:place], *a["sizes"], *sizes[place:]))


def permute(g: Builder, a: Arguments) -> Out:
    return g.emit("permute", [a["self"]], axes=numbers(a["dims"]))


def transpose(g: Builder, a: Arguments) -> Out:
    axes = list(range(len(a["self"].shape)))
    i, j = (a.get(f"dim{k}", a.get(f"axis{k}", k)) for k in (0, 1))
    if len(axes) > 1:
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


def squeezed(g: Builder, x: Out, axis: int) -> Out:
    """Without an axis of size 1."""
    return _take(g, x, (*(slice(None),) * axis, 0))


def unsqueezed(g: Builder, x: Out, axis: int, rank: int) -> Out:
    """With one more axis, so that there are `rank`."""
    assert 0 <= axis < rank
    return _take(g, x, (*(slice(None),) * axis, None))


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


def upsample(op: str, **options: Any) -> Handler:
    """To an output size or by factors."""

    def handler(g: Builder, a: Arguments) -> Out:
        corners = {"align_corners": a["align_corners"]} if "align_corners" in a else {}
        return g.emit(op, [_image(a)], **_scaling(a), **corners, **options)

    return handler


def _image(a: Arguments) -> Out:
    return a["input"] if "input" in a else a["self"]


def _scaling(a: Arguments) -> dict[str, Any]:
    if a.get("output_size") is not None:
        return {"size": numbers(a["output_size"])}
    return {"scale": numbers(a["scale_factors"])}


def same(g: Builder, a: Arguments) -> Out:
    """Operations that leave the numbers as they are."""
    return a["self"] if "self" in a else a["input"]


def to(g: Builder, a: Arguments) -> Out:
    """A cast; moving to a device changes nothing here."""
    dtype = a["other"].dtype if isinstance(a.get("other"), Out) else str(a.get("dtype") or "").removeprefix("torch.")
    return cast(g, a["self"], dtype)


def type_as(g: Builder, a: Arguments) -> Out:
    return cast(g, a["self"], a["other"].dtype)


def detach(g: Builder, a: Arguments) -> Out:
    return g.emit("stop_gradient", [a["self"]])


# --- the same by other names ----------------------------------------------------------------------------------------


def swap_last(g: Builder, a: Arguments) -> Out:
    return transpose(g, {"self": a["self"], "dim0": -2, "dim1": -1})


def reversed_axes(g: Builder, a: Arguments) -> Out:
    return g.emit("permute", [a["self"]], axes=tuple(reversed(range(len(a["self"].shape)))))


def expand_as(g: Builder, a: Arguments) -> Out:
    return g.emit("broadcast", [a["self"]], shape=_sizes(g, a["other"]))


def view_as(g: Builder, a: Arguments) -> Out:
    return g.emit("reshape", [a["self"]], shape=_sizes(g, a["other"]))


def _sizes(g: Builder, x: Out) -> tuple[Any, ...]:
    return tuple(g.size(x, axis) for axis in range(len(x.shape)))


def narrow(g: Builder, a: Arguments) -> Out:
    if isinstance(a["start"], Out):
        raise InputError("a slice whose start depends on values is not supported")
    start, length = a["start"], a["length"]
    if isinstance(start, int) and start < 0 and isinstance(a["self"].shape[a["dim"]], int):
        start += a["self"].shape[a["dim"]]
    return slice_(g, {"self": a["self"], "dim": a["dim"], "start": start, "end": start + length, "step": 1})


def unbind(g: Builder, a: Arguments) -> tuple[Out, ...]:
    n = a["self"].shape[a["dim"]]
    if n is None:
        raise InputError("splitting the batch is not supported")
    return tuple(select(g, {"self": a["self"], "dim": a["dim"], "index": i}) for i in range(n))


def flip(g: Builder, a: Arguments) -> Out:
    rank = len(a["self"].shape)
    gone = {d % rank for d in a["dims"]}
    return _take(g, a["self"], tuple(slice(None, None, -1 if i in gone else None) for i in range(rank)))


def roll(g: Builder, a: Arguments) -> Out:
    """Along each axis the last `shift` cells come first."""
    x, dims = a["self"], list(a["dims"])
    if not dims:
        raise InputError("rolling a flattened array is not supported: name the axes")
    for shift, dim in zip(a["shifts"], dims, strict=True):
        axis = dim % len(x.shape)
        n = x.shape[axis]
        if n is None:
            raise InputError("rolling along the batch is not supported")
        cut, lead = (-shift) % n if n else 0, (slice(None),) * axis
        if cut:
            parts: list[Out | None] = [_take(g, x, (*lead, part)) for part in (slice(cut, None), slice(0, cut))]
            x = Out(g.emit("concat", parts, axis=axis).position, x.shape, x.dtype)
    return x


def repeat(g: Builder, a: Arguments) -> Out:
    """The whole array several times along each axis."""
    x, counts = a["self"], list(a["repeats"])
    if any(not isinstance(n, int) or n < 1 for n in counts):
        raise InputError("repeating 0 times, or as often as the batch is large, is not supported")
    for _ in range(len(counts) - len(x.shape)):
        x = Out(_take(g, x, (None,)).position, (1, *x.shape), x.dtype)
    for axis, n in enumerate(counts):
        if n > 1:
            x = Out(g.emit("concat", [x] * n, axis=axis).position, x.shape, x.dtype)
    return x


def tile(g: Builder, a: Arguments) -> Out:
    counts = list(a["dims"])
    return repeat(g, {"self": a["self"], "repeats": [1] * (len(a["self"].shape) - len(counts)) + counts})


def pixel_shuffle(g: Builder, a: Arguments) -> Out:
    return g.emit("pixel_shuffle", [a["self"]], factor=a["upscale_factor"])


def pixel_unshuffle(g: Builder, a: Arguments) -> Out:
    return g.emit("pixel_unshuffle", [a["self"]], factor=a["downscale_factor"])


def channel_shuffle(g: Builder, a: Arguments) -> Out:
    """Channels of the groups in turn (Zhang et al., ShuffleNet, 2018)."""
    groups, (_, c, *size) = a["groups"], a["self"].shape
    parts = g.emit("reshape", [a["self"]], shape=(-1, groups, c // groups, *size))
    axes = (0, 2, 1, *range(3, 3 + len(size)))
    return g.emit("reshape", [g.emit("permute", [parts], axes=axes)], shape=(-1, c, *size))
