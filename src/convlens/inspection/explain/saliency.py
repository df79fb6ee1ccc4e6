"""Saliency: the gradient of a logit with respect to each pixel."""

import numpy as np

from convlens.base.errors import InputError
from convlens.inspection.explain.attribution import Attribution, aims, batches, score
from convlens.inspection.explain.registry import register
from convlens.inspection.explain.subject import Options, Pictures, Subject


@register("saliency", group="attribution")
def saliency(subject: Subject, pictures: Pictures, options: Options) -> Attribution:
    """The gradient of the logit, its largest magnitude over the channels (Simonyan et al. 2014)."""
    gradient = input_gradient(subject, pictures, options)
    return Attribution(
        what="saliency",
        arrays={"maps": np.abs(gradient).max(1), "gradient": gradient},
        notes=("the largest magnitude of the gradient over the channels, for the normalized input",),
        signed=False,
        unit="|gradient|",
    )


def input_gradient(subject: Subject, pictures: Pictures, options: Options) -> np.ndarray:
    """float64 [N, C, H, W]: the gradient of the explained number with respect to the normalized input.

    Raises:
        InputError: the logits do not depend on the input by operations that have a derivative.
    """
    import torch

    wanted = aims(subject, pictures, options)
    found = []
    with subject.at_work() as device:
        for x, classes in batches(subject, pictures, wanted, device):
            total = score(subject, x.requires_grad_(), *classes).sum()
            if not total.requires_grad:
                raise InputError("the network cuts its outputs off from its input (no_grad, detach): no gradient")
            (gradient,) = torch.autograd.grad(total, x, allow_unused=True)
            found.append(np.zeros(x.shape) if gradient is None else gradient.double().cpu().numpy())
    return np.concatenate(found)
