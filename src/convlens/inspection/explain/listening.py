"""Receptive fields on the picture: what a cell can see, and what it listens to (Luo et al. 2016)."""

from typing import TYPE_CHECKING

import numpy as np

from convlens.base.errors import InputError
from convlens.inspection import style
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.layers import Box, box_of, fields_of, map_layer
from convlens.inspection.explain.naming import stems
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import PAIR, Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARK = "#d0540a"


@register("receptive-field", group="features")
def receptive_field(subject: Subject, pictures: Pictures, options: Options) -> Explanation:
    """What the middle cell of a layer can see of the picture, and what it listens to (Luo et al. 2016).

    The layer is --layer, by default the last one with maps. arrays["maps"]: float64 [N, H, W], the magnitude of the
    gradient of that cell, summed over the layer's channels and the picture's; for noise it is what `convlens summary
    --effective` measures.
    """
    path = map_layer(subject, pictures.pixels, options.layer)
    maps, cell = _gradients(subject, pictures.pixels, path)
    size = subject.preprocess.size
    fields = fields_of(subject, path)
    if fields is None:
        raise InputError(f"--layer {path}: its cells have no receptive field of their own; name an earlier layer")
    box = box_of(fields, *cell, size)
    side = [box[1] - box[0] + 1, box[3] - box[2] + 1]
    shares = _within(maps, 0.9545)
    note = f"layer {path}, cell {list(cell)} of the middle: sees {side[0]}x{side[1]} pixels, padding included"

    def draw() -> "dict[str, Figure]":
        names = stems(pictures.names)
        return {
            f"{stem}-receptive-field": _sheet(pictures, i, maps[i], box, f"{path} {list(cell)}, {side[0]}x{side[1]}")
            for i, stem in enumerate(names)
        }

    return Explanation(
        what="receptive-field",
        arrays={"maps": maps},
        facts={
            "layer": path, "cell": list(cell), "box": list(box), "size": side,
            "pixels_for_95_percent": dict(zip(pictures.names, shares, strict=True)),
        },
        notes=(note,),
        figures=draw,
    )  # fmt: skip


def _gradients(subject: Subject, pixels: np.ndarray, path: str) -> tuple[np.ndarray, tuple[int, int]]:
    """[N, H, W], and the middle cell of the layer."""
    import torch

    from convlens.inspection.probe.probe import Probe

    found, cell = [], (0, 0)
    for row in pixels:
        with subject.at_work() as device, torch.enable_grad():
            x = subject.inputs(row[None].repeat(PAIR, 0), device).requires_grad_()
            with Probe(subject.module, [path], inputs=False, keep=lambda _, tensor: tensor.clone()) as probe:
                subject.logits(x)
            output = probe.outputs[path][0][:1]
            cell = (output.shape[2] // 2, output.shape[3] // 2)
            (gradient,) = torch.autograd.grad(output[0, :, cell[0], cell[1]].sum(), x)
        found.append(gradient[0].double().abs().sum(0).cpu().numpy())
    return np.stack(found), cell


def _within(maps: np.ndarray, share: float) -> list[int]:
    """How many of the pixels, the strongest first, have that share of the sum."""
    counts = []
    for values in maps.reshape(len(maps), -1):
        total = np.cumsum(np.sort(values)[::-1])
        counts.append(int(np.searchsorted(total, share * total[-1]) + 1) if total[-1] else 0)
    return counts


def _sheet(pictures: Pictures, i: int, heat: np.ndarray, box: Box, what: str) -> "Figure":
    figure, axes = style.sheet(1, 2, cell=2.6)
    style.show_picture(axes[0, 0], pictures.pixels[i])
    style.title(axes[0, 0], "what the cell can see")
    style.show_map(axes[0, 1], heat, signed=False)
    style.title(axes[0, 1], "what it listens to: |gradient|")
    for cell in axes[0]:
        _frame(cell, box, heat.shape)
    style.headline(figure, f"{pictures.names[i]}: receptive field of {what}", "The frame ends at the picture's edge.")
    return figure


def _frame(axes: "Axes", box: Box, size: tuple[int, ...]) -> None:
    from matplotlib.patches import Rectangle

    top, left = max(box[0], 0), max(box[2], 0)
    bottom, right = min(box[1], size[0] - 1), min(box[3], size[1] - 1)
    place = (left - 0.5, top - 0.5)
    axes.add_patch(Rectangle(place, right - left + 1, bottom - top + 1, fill=False, edgecolor=_MARK, linewidth=1.5))
