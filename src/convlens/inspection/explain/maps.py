"""The maps of a layer, one sheet a picture."""

from typing import TYPE_CHECKING

import numpy as np

from convlens.inspection import style
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.layers import channels_of, map_layer, maps_of
from convlens.inspection.explain.naming import stems
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS, _MOST = 9, 64


@register("features", group="features")
def features(subject: Subject, pictures: Pictures, options: Options) -> Explanation:
    """The maps of a layer, all channels on one scale. The layer is --layer, by default the last one with maps.

    arrays["maps"]: float32 [N, C, H, W], all channels.
    """
    path = map_layer(subject, pictures.pixels, options.layer)
    maps = maps_of(subject, pictures.pixels, path)
    chosen, left_out = channels_of(options, np.abs(maps).mean(axis=(0, 2, 3)), _MOST)
    shape = "x".join(map(str, maps.shape[1:]))

    def draw() -> "dict[str, Figure]":
        limit = float(np.abs(maps[:, chosen]).max(initial=0))
        return {
            f"{stem}-features": _sheet(pictures, i, maps[i], chosen, limit, f"{path}, {shape}")
            for i, stem in enumerate(stems(pictures.names))
        }

    return Explanation(
        what="features",
        arrays={"maps": maps},
        facts={"layer": path, "shape": list(maps.shape[1:]), "channels": chosen},
        notes=tuple(filter(None, (f"layer {path}, {shape}", left_out))),
        figures=draw,
    )


def _sheet(pictures: Pictures, i: int, maps: np.ndarray, chosen: list[int], limit: float, layer: str) -> "Figure":
    columns = min(_COLUMNS, len(chosen) + 1)
    figure, axes = style.sheet(-(-(len(chosen) + 1) // columns), columns, cell=1.15)
    first, *cells = axes.flat
    style.show_picture(first, pictures.pixels[i])
    style.title(first, "the picture", size=7)
    signed = bool((maps < 0).any())
    for cell, channel in zip(cells, chosen, strict=False):
        style.show_map(cell, maps[channel], limit=limit, signed=signed, bar=False)
        style.title(cell, f"{channel}", size=7)
        if not maps[channel].any():
            style.note(cell, "all 0")
    style.shared_bar(figure, axes, limit, signed=signed)
    style.headline(figure, f"{pictures.names[i]}: maps of {layer}", "Above each map its channel. All have one scale.")
    return figure
