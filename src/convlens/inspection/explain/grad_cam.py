"""Grad-CAM: the last maps of the network that still have places, weighted by what each adds to the logit."""

import numpy as np

from convlens.base.errors import InputError
from convlens.inspection.explain.attribution import Attribution, aims
from convlens.inspection.explain.captum import batches, captum, explained
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject


@register("grad-cam", group="attribution")
def grad_cam(subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    """The last maps, weighted by their mean gradient; what is negative is 0 (Selvaraju et al. 2017).

    The layer is `options.layer`, by default the last one that gives maps of more than one cell. Its map is enlarged to
    the picture's size (bilinear); arrays["cells"] has it as it is, float64 [N, H', W'].
    """
    import torch.nn.functional as F

    attr = captum()
    wanted = aims(subject, pictures, options)
    path = map_layer(subject, pictures, options.layer)
    method = attr.LayerGradCam(explained(subject), subject.module.get_submodule(path))
    cells, maps = [], []
    with subject.at_work() as device:
        for x, classes in batches(subject, pictures, wanted, device):
            found = method.attribute(x, additional_forward_args=classes, relu_attributions=True).detach().double()
            large = F.interpolate(found, subject.preprocess.size, mode="bilinear", align_corners=False)
            cells.append(found[:, 0].cpu().numpy())
            maps.append(large[:, 0].cpu().numpy())
    small = np.concatenate(cells)
    return Attribution(
        what="grad-cam",
        arrays={"maps": np.concatenate(maps), "cells": small},
        notes=(f"layer {path}, {small.shape[1]}x{small.shape[2]} cells",),
        signed=False,
        unit="weighted maps",
    )


def map_layer(subject: Subject, pictures: Pictures, path: str | None = None) -> str:
    """The path of a layer whose output is maps [N, C, H, W]: the one named, or the last with more than one cell.

    Raises:
        InputError: there is none, the named one gives no maps or runs several times.
    """
    import torch

    from convlens.inspection.probe.probe import Probe

    def shape(_: str, tensor: torch.Tensor) -> tuple[int, ...]:
        return tuple(tensor.shape)

    probe = Probe(subject.module, None if path is None else [path], inputs=False, keep=shape)
    with subject.at_work() as device, torch.no_grad(), probe:
        subject.logits(subject.inputs(pictures.pixels[[0, 0]], device))
    if path is not None:
        found = probe.outputs[path]
        if len(found) != 1:
            raise InputError(f"--layer {path}: it runs {len(found)} times in a pass; name a layer that runs once")
        if not _is_maps(found[0]):
            raise InputError(f"--layer {path}: it gives no maps [N, C, H, W]; name a layer before the dense ones")
        return path
    for call in reversed(probe.calls):
        found = probe.outputs.get(call.path) if call.path else None
        if found is not None and len(found) == 1 and _is_maps(found[0]) and found[0][2] * found[0][3] > 1:
            return call.path
    raise InputError("grad-cam needs a layer that gives maps of more than one cell, and this network has none")


def _is_maps(shape: object) -> bool:
    return isinstance(shape, tuple) and len(shape) == 4 and all(isinstance(n, int) for n in shape)
