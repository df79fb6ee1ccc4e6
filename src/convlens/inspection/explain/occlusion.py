"""Occlusion: how far the logit falls when a window of the picture is covered."""

import numpy as np

from convlens.inspection.explain.attribution import BATCH, Attribution, aims, batches
from convlens.inspection.explain.captum import captum, explained
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject


@register("occlusion", group="attribution")
def occlusion(subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    """How far the logit falls when a window is covered with the mean color (Zeiler and Fergus 2014).

    Windows are a seventh of the picture's sides and move by half of that; a pixel's value is the mean over the windows
    that cover it. The mean color is 0 in the network's normalized input.
    """
    method = captum().Occlusion(explained(subject))
    wanted = aims(subject, pictures, options)
    height, width = (max(1, round(side / 7)) for side in subject.preprocess.size)
    strides = (subject.preprocess.channels, max(1, height // 2), max(1, width // 2))
    found = []
    import torch

    with subject.at_work() as device, torch.no_grad():
        for x, classes in batches(subject, pictures, wanted, device):
            falls = method.attribute(
                x, (x.shape[1], height, width), strides=strides, baselines=0, additional_forward_args=classes,
                perturbations_per_eval=max(1, 4 * BATCH // len(x)),
            )  # fmt: skip
            found.append(falls[:, 0].double().cpu().numpy())  # all channels are covered together
    return Attribution(
        what="occlusion",
        arrays={"maps": np.concatenate(found)},
        facts={},
        notes=(f"windows of {height}x{width} pixels, {strides[1]}x{strides[2]} apart, covered with the mean color",),
        signed=True,
        unit="fall of the logit",
    )
