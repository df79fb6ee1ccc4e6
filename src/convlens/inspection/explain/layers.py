"""Layers that methods look at: which one, what it gives for pictures, and which pixels a cell of it sees."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.errors import InputError
from convlens.inspection.explain.subject import PAIR, Options, Subject

if TYPE_CHECKING:
    from torch import Tensor

    from convlens.geometry import FieldMap

BATCH = 64
Box = tuple[int, int, int, int]


def map_layer(subject: Subject, pixels: np.ndarray | None = None, path: str | None = None) -> str:
    """The path of a layer whose output is maps [N, C, H, W]: the one named, or the last with more than one cell.

    Args:
        pixels: a picture to run the network on, uint8 [N, H, W, C]; a black one unless given.

    Raises:
        InputError: there is none, the named one gives no maps or runs several times.
    """
    import torch
    from torch import nn

    from convlens.inspection.probe.probe import Probe

    seen: list[tuple[str, int]] = []  # in the order in which modules return

    def shape(path: str, tensor: torch.Tensor) -> tuple[int, ...]:
        seen.append((path, tensor.data_ptr()))
        return tuple(tensor.shape)

    pixels = blank(subject) if pixels is None or not len(pixels) else pixels[[0] * PAIR]
    probe = Probe(subject.module, None if path is None else [path], inputs=False, keep=shape)
    with subject.at_work() as device, torch.no_grad(), probe:
        subject.logits(subject.inputs(pixels, device))
    if path is not None:
        if not _is_maps(_only(path, probe.outputs[path])):
            raise InputError(f"--layer {path}: it gives no maps [N, C, H, W]; name a layer before the dense ones")
        return path
    maps = {p: f[0] for p, f in probe.outputs.items() if p and len(f) == 1 and _is_maps(f[0])}
    idle = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity)
    returned = [
        (p, tensor) for p, tensor in seen
        if p in maps and maps[p][2] * maps[p][3] > 1 and not isinstance(subject.module.get_submodule(p), idle)
    ]  # fmt: skip
    if not returned:
        raise InputError("this needs a layer that gives maps of more than one cell, and the network has none")
    (path, place), *before = reversed(returned)
    for inner, its_place in before:  # a part of the module that gave the same tensor
        if its_place != place or not inner.startswith(f"{path}."):
            break
        path = inner
    return path


def _only(path: str, found: list[Any]) -> Any:
    """What the probe kept of a layer in a pass. Raises `InputError` for one that does not run once."""
    if len(found) != 1:
        raise InputError(f"--layer {path}: it runs {len(found)} times in a pass; name a layer that runs once")
    return found[0]


def _is_maps(shape: object) -> bool:
    return isinstance(shape, tuple) and len(shape) == 4 and all(isinstance(n, int) for n in shape)


def blank(subject: Subject) -> np.ndarray:
    """Black pictures, uint8 [2, H, W, C]."""
    return np.zeros((PAIR, *subject.preprocess.size, subject.preprocess.channels), np.uint8)


def outputs(
    subject: Subject,
    pixels: Any,
    path: str,
    take: "Callable[[Tensor], Any]",
    advance: Callable[[int], None] = lambda n: None,
    *,
    given: bool = False,
) -> Iterator[Any]:
    """What `take` makes of the layer's output [n, ...], a batch of pictures at a time. `take` runs within `at_work`.

    given: of what the layer is given, in place of its output.

    Raises:
        InputError: a layer that does not run once, or gives (or is given) no single tensor.
    """
    import torch

    from convlens.inspection.probe.probe import Probe

    for start in range(0, len(pixels), BATCH):
        rows = np.asarray(pixels[start : start + BATCH])
        pair = rows if len(rows) > 1 else rows[[0] * PAIR]  # some networks cannot take a batch of one
        with subject.at_work() as device, torch.no_grad(), Probe(subject.module, [path], inputs=given) as probe:
            subject.logits(subject.inputs(pair, device))
            values = _only(path, probe.inputs[path] if given else probe.outputs[path])
            values = values[0] if given and values else values
            if not isinstance(values, torch.Tensor) or len(values) != len(pair):
                raise InputError(f"--layer {path}: its values are no single tensor with a row for each picture")
            found = take(values[: len(rows)])
        yield found
        advance(len(rows))


def maps_of(subject: Subject, pixels: np.ndarray, path: str) -> np.ndarray:
    """The maps of a layer, float32 [N, C, H, W]."""
    return np.concatenate(list(outputs(subject, pixels, path, lambda t: t.float().cpu().numpy())))


def fields_of(subject: Subject, path: str) -> "tuple[FieldMap, FieldMap] | None":
    """What the cells of a layer see of the image, along rows and columns; None where no cell has a field of its own."""
    from convlens.inspection.execution import execute
    from convlens.inspection.fields.follow import follow

    with subject.at_work():
        execution = execute(subject.module, subject.input_shape, batch=PAIR)
    output = next((call.output for call in execution.calls if call.path == path), None)
    fields = None if output is None else follow(execution).fields(output)
    return (fields[0], fields[1]) if fields is not None and len(fields) == 2 else None


def box_of(fields: "tuple[FieldMap, FieldMap] | None", y: int, x: int, size: tuple[int, int]) -> Box:
    """(top, bottom, left, right) of the pixels that a cell sees, the ends included; they may lie beyond the image."""
    if fields is None:
        return 0, size[0] - 1, 0, size[1] - 1
    (top, bottom), (left, right) = fields[0].at(y) or (0, -1), fields[1].at(x) or (0, -1)
    return top, bottom, left, right


def cut(pixels: np.ndarray, box: Box, beyond: float = 128) -> np.ndarray:
    """The part of a picture [H, W, ...] in a box; beyond the picture `beyond`, unless the box is larger than it."""
    height, width = pixels.shape[:2]
    top, bottom, left, right = box
    if bottom - top >= height:  # it sees more than the picture: the picture's edge is enough
        top, bottom = max(top, 0), min(bottom, height - 1)
    if right - left >= width:
        left, right = max(left, 0), min(right, width - 1)
    found = np.full((bottom - top + 1, right - left + 1, *pixels.shape[2:]), beyond, pixels.dtype)
    t, b, le, r = max(top, 0), min(bottom, height - 1) + 1, max(left, 0), min(right, width - 1) + 1
    if t < b and le < r:
        found[t - top : b - top, le - left : r - left] = pixels[t:b, le:r]
    return found


def channels_of(options: Options, strength: np.ndarray, most: int, what: str = "channel") -> tuple[list[int], str]:
    """Which channels to show and, where some are left out, a line that says so.

    Args:
        strength: [C], by which the strongest are chosen.
        most: how many, unless `options.count` says so.

    Raises:
        InputError: a channel that is not there.
    """
    wrong = [c for c in options.channels if c >= len(strength)]
    if wrong:
        raise InputError(f"--channel {wrong[0]}: the layer has {len(strength)} {what}s, 0 to {len(strength) - 1}")
    if options.channels:
        return list(options.channels), ""
    most = options.count or most
    if len(strength) <= most:
        return list(range(len(strength))), ""
    chosen = sorted(np.argsort(-strength, kind="stable")[:most].tolist())
    return chosen, f"the {most} strongest of {len(strength)} {what}s; --count and --channel choose others"
