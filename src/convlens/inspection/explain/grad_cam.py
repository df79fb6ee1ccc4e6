"""Grad-CAM: the last maps of the network that still have places, weighted by what each adds to the logit."""

import numpy as np

from convlens.inspection.explain.attribution import Attribution, aims, batches
from convlens.inspection.explain.captum import captum, explained
from convlens.inspection.explain.layers import map_layer
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
    path = map_layer(subject, pictures.pixels, options.layer)
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
