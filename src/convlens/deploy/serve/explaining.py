"""Grad-CAM of one picture, as a PNG."""

import io

import numpy as np

from convlens.classify.classifier import Classifier
from convlens.deploy.serve.bodies import opened
from convlens.deploy.serve.forms import Sent
from convlens.deploy.serve.settings import Settings

_SHORT = 320  # pixels of the shorter side, at least: a CIFAR picture would be a stamp


def grad_cam(classifier: Classifier, sent: Sent, settings: Settings, target: str | None) -> bytes:
    """The prepared picture, and over it, from clear to red, what spoke for the class (Selvaraju et al. 2017).

    target: the class; None for the likeliest.

    Raises:
        InputError: no picture, an unknown class, a network without maps.
        RefusedError: too many pixels.
    """
    from PIL import Image

    from convlens.inspection.explain import Options, Pictures, Subject
    from convlens.inspection.explain.grad_cam import grad_cam as explain

    pixels = classifier.preprocess.prepare(opened(sent, settings), "the image")[None]

    subject = Subject(classifier, on_note=lambda note: None)
    heat = explain(subject, Pictures(pixels, ("the image",)), Options(target=target)).arrays["maps"][0]
    heat = heat / (heat.max() or 1.0)
    picture = np.broadcast_to(pixels[0], (*pixels.shape[1:3], 3)).astype(np.float64)
    red = np.array([215.0, 25.0, 28.0])
    share = 0.65 * np.clip(heat, 0, 1)[..., None]
    mixed = np.rint(picture * (1 - share) + red * share).astype(np.uint8)
    scale = max(1, -(-_SHORT // min(mixed.shape[:2])))
    found = Image.fromarray(mixed).resize((mixed.shape[1] * scale, mixed.shape[0] * scale), Image.Resampling.NEAREST)
    out = io.BytesIO()
    found.save(out, "PNG")
    return out.getvalue()
