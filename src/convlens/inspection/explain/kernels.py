"""The kernels of a convolution."""

from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.base.errors import InputError, nearest
from convlens.inspection import style
from convlens.inspection.explain.explanation import Explanation
from convlens.inspection.explain.layers import channels_of
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS, _MOST, _INPUTS = 8, 64, 8


@register("kernels", group="features", pictures=False)
def kernels(subject: Subject, pictures: Pictures, options: Options) -> Explanation:
    """The kernels of a convolution on one scale. The layer is --layer, by default the first convolution.

    arrays["kernels"]: float [O, I, h, w]; of a transposed convolution, too, O are the channels of its output.
    """
    path, weights = _weights(subject, options.layer)
    strength = np.sqrt((weights**2).sum(axis=(1, 2, 3)))
    inputs = min(weights.shape[1], _INPUTS)
    colors = weights.shape[1] == 3 and subject.preprocess.channels == 3 and weights.shape[2] > 1
    flat = weights.shape[1] == 1 or colors
    chosen, left_out = channels_of(options, strength, _MOST if flat else 16, "kernel")
    shape = "x".join(map(str, weights.shape))
    notes = [f"layer {path}, weights {shape}", left_out]
    if not flat and weights.shape[1] > inputs:
        notes.append(f"of each kernel the {inputs} strongest of {weights.shape[1]} input channels")
    draw = _pictures if flat else _rows
    return Explanation(
        what="kernels",
        arrays={"kernels": weights},
        facts={"layer": path, "shape": list(weights.shape), "kernels": chosen},
        notes=tuple(filter(None, notes)),
        figures=lambda: {f"kernels-{path or 'network'}": draw(weights, chosen, f"{path}, {shape}")},
    )


def _weights(subject: Subject, path: str | None) -> tuple[str, np.ndarray]:
    from torch import nn

    def kernel(module: Any) -> np.ndarray | None:
        weight = getattr(module, "weight", None)
        if weight is None or getattr(weight, "ndim", 0) != 4:
            return None
        if isinstance(module, nn.ConvTranspose2d):
            groups = module.groups
            weight = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
        return weight.detach().float().cpu().numpy().astype(np.float64)

    known = {name: module for name, module in subject.module.named_modules() if kernel(module) is not None}
    if not known:
        raise InputError("the network has no layer with kernels [O, I, h, w]")
    if path is not None and path not in known:
        raise InputError(f"--layer {path}: no layer with kernels{nearest(path, known)} (known: {', '.join(known)})")
    path = next(iter(known)) if path is None else path
    found = kernel(known[path])
    assert found is not None
    return path, found


def _pictures(weights: np.ndarray, chosen: list[int], layer: str) -> "Figure":
    """Kernels of one input channel as maps, of three as pictures whose middle gray is 0."""
    limit = float(np.abs(weights[chosen]).max(initial=0))
    columns = min(_COLUMNS, len(chosen))
    figure, axes = style.sheet(-(-len(chosen) // columns), columns, cell=1.15)
    for cell, k in zip(axes.flat, chosen, strict=False):
        if weights.shape[1] == 3:
            style.show_picture(cell, style.as_picture(weights[k], limit))
        else:
            style.show_map(cell, weights[k, 0], limit=limit, signed=True, bar=False)
        style.title(cell, f"{k}", size=7)
    how = "Above each kernel its number. All have one scale"
    if weights.shape[1] == 3:
        how += f": red, green and blue from -{style.number(limit)} to {style.number(limit)}, middle gray is 0."
    else:
        how += "."
        style.shared_bar(figure, axes, limit, signed=True)
    style.headline(figure, f"Kernels of {layer}", how)
    return figure


def _rows(weights: np.ndarray, chosen: list[int], layer: str) -> "Figure":
    """One row a kernel: its strongest input channels."""
    inputs = min(weights.shape[1], _INPUTS)
    limit = float(np.abs(weights[chosen]).max(initial=0))
    figure, axes = style.sheet(len(chosen), inputs, cell=1.0)
    for row, k in zip(axes, chosen, strict=True):
        strength = np.abs(weights[k]).sum(axis=(1, 2))
        for cell, channel in zip(row, sorted(np.argsort(-strength, kind="stable")[:inputs].tolist()), strict=True):
            style.show_map(cell, weights[k, channel], limit=limit, signed=True, bar=False)
            style.title(cell, f"{k} of input {channel}", size=6)
    style.shared_bar(figure, axes, limit, signed=True)
    style.headline(figure, f"Kernels of {layer}", "A row for each kernel. All have one scale.")
    return figure
