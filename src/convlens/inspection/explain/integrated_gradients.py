"""Integrated gradients: the gradient on the straight way from a black picture to this one, times the way."""

import numpy as np

from convlens.inspection.explain.attribution import BATCH, Attribution, aims, batches
from convlens.inspection.explain.captum import captum, explained
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject

STEPS = 64


@register("integrated-gradients", group="attribution")
def integrated_gradients(subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    """What each pixel adds to the logit of a black picture (Sundararajan et al. 2017), summed over the channels.

    The map's sum is the logit of the picture less that of the black one, but for the error of 64 Gauss-Legendre steps;
    arrays["gaps"] has it, float64 [N].
    """
    method = captum().IntegratedGradients(explained(subject))
    wanted = aims(subject, pictures, options)
    found, gaps = [], []
    with subject.at_work() as device:
        black = subject.inputs(np.zeros_like(pictures.pixels[:1]), device)
        for x, classes in batches(subject, pictures, wanted, device):
            parts, gap = method.attribute(
                x, black.expand_as(x), additional_forward_args=classes, n_steps=STEPS, internal_batch_size=4 * BATCH,
                return_convergence_delta=True,
            )  # fmt: skip
            found.append(parts.detach().double().cpu().numpy())
            gaps.append(gap.detach().double().cpu().numpy())
    parts, gap = np.concatenate(found), np.concatenate(gaps)
    return Attribution(
        what="integrated-gradients",
        arrays={"maps": parts.sum(1), "parts": parts, "gaps": gap},
        facts={"gap": gap.tolist()},
        notes=("from a black picture; the map's sum is the difference of both logits",),
        signed=True,
        unit="part of the logit",
    )
