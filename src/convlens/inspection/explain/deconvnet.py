"""What a channel responds to in a picture, by the deconvolution network of Zeiler and Fergus (2014).

The strongest cell of a channel is sent back to the pixels: through convolutions transposed, through rectifiers by what
is positive, through the maxima of pooling to where they came from (the switches).
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from convlens import ops
from convlens.base.errors import InputError
from convlens.inspection import style
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.layers import box_of, channels_of, cut, fields_of, map_layer, maps_of
from convlens.inspection.explain.naming import stems
from convlens.inspection.explain.rectified import deconvolution
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import PAIR, Options, Pictures, Subject
from convlens.scratch.graph import Graph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 8


@register("deconvnet", group="features")
def deconvnet(subject: Subject, pictures: Pictures, options: Options) -> Explanation:
    """What a layer's channels respond to in the picture: their strongest cells sent back to the pixels.

    The layer is --layer, by default the last one with maps; the channels are --channel, by default the 8 that respond
    most. arrays["projections"]: float64 [N, channels, C, H, W].
    """
    path = map_layer(subject, pictures.pixels, options.layer)
    maps = maps_of(subject, pictures.pixels, path)
    graph = _up_to(subject, path, maps.shape[1:])
    fields, size = fields_of(subject, path), subject.preprocess.size
    told: list[list[dict[str, Any]]] = []
    found: list[np.ndarray] = []
    left_out = ""
    for i in range(len(pictures)):
        chosen, left_out = channels_of(options, maps[i].max(axis=(1, 2)), _MOST)
        cells = [np.unravel_index(int(maps[i, c].argmax()), maps.shape[2:]) for c in chosen]
        found.append(_projections(subject, graph, pictures.pixels[i], chosen, cells, maps[i]))
        told.append([
            {"channel": c, "value": float(maps[i, c, y, x]), "cell": [int(y), int(x)],
             "box": list(box_of(fields, int(y), int(x), size))}
            for c, (y, x) in zip(chosen, cells, strict=True)
        ])  # fmt: skip

    def draw() -> "dict[str, Figure]":
        names = stems(pictures.names)
        return {f"{stem}-deconvnet": _sheet(pictures, i, found[i], told[i], path) for i, stem in enumerate(names)}

    return Explanation(
        what="deconvnet",
        arrays={"projections": np.stack(found)},
        facts={"layer": path, "pictures": dict(zip(pictures.names, told, strict=True))},
        notes=tuple(filter(None, (f"layer {path}", left_out))),
        figures=draw,
    )


def _up_to(subject: Subject, path: str, shape: tuple[int, ...]) -> Graph:
    """The network's graph up to a layer."""
    whole = subject.graph
    own = [i for i, n in enumerate(whole.nodes) if n.name == path or n.name.startswith((f"{path}.", f"{path}#"))]
    if not own:
        raise InputError(f"--layer {path}: computes nothing in inference; name the layer before it")
    return Graph(whole.nodes[: own[-1] + 1], [own[-1]], whole.parameters, whole.buffers, whole.constants)


def _projections(
    subject: Subject, graph: Graph, pixels: np.ndarray, channels: list[int], cells: list[Any], maps: np.ndarray
) -> np.ndarray:
    """[channels, C, H, W]: a cell of each channel sent back; two channels in a pass."""
    x = subject.preprocess.normalize(pixels[None]).astype(np.float64).repeat(PAIR, 0)
    found = []
    for start in range(0, len(channels), PAIR):
        rows = list(zip(channels[start : start + PAIR], cells[start : start + PAIR], strict=True))
        with ops.fast():
            tape = graph.run(x)
            if tape.output.shape[1:] != maps.shape:
                raise InputError("the exported layer gives other maps than the network: this layer cannot be sent back")
            seed = np.zeros_like(tape.output)
            for k, (channel, (y, x_)) in enumerate(rows):
                seed[k, channel, y, x_] = tape.output[k, channel, y, x_]
            arrived = tape.backward(seed, inputs=True, rules=deconvolution).inputs[0]
        if arrived is None:
            raise InputError("this layer does not depend on the picture")
        found.append(arrived[: len(rows)])
    return np.concatenate(found)


def _sheet(pictures: Pictures, i: int, found: np.ndarray, told: list[dict[str, Any]], path: str) -> "Figure":
    figure, axes = style.sheet(2, len(told) + 1, cell=1.5)
    limit = float(np.abs(found).max(initial=0))
    style.show_picture(axes[0, 0], pictures.pixels[i])
    style.title(axes[0, 0], pictures.names[i], size=7)
    style.caption(axes[1, 0], "sent back\nto the pixels")
    for (above, below), projection, entry in zip(axes[:, 1:].T, found, told, strict=True):
        box = tuple(entry["box"])
        style.show_picture(above, cut(pictures.pixels[i], box))
        style.title(above, f"channel {entry['channel']}: {style.number(entry['value'])}", size=7)
        part = cut(projection.transpose(1, 2, 0), box, 0).transpose(2, 0, 1)
        if len(part) == 1:
            style.show_map(below, part[0], limit=limit, signed=True, bar=False)
        else:
            style.show_picture(below, style.as_picture(part, limit))
    rest = "Above: what the strongest cell of the channel sees, and its value. Below: it sent back; all on one scale"
    if found.shape[1] == 1:
        style.shared_bar(figure, axes, limit, signed=True)
        rest += "."
    else:
        rest += f", red, green and blue from -{style.number(limit)} to {style.number(limit)}, middle gray is 0."
    style.headline(figure, f"What the channels of {path} respond to", rest)
    return figure
