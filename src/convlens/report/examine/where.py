"""Where the network looked in its surest mistakes: Grad-CAM (Selvaraju et al., 2017) over the picture in gray."""

import numpy as np

from convlens.classify.classifier import Classifier
from convlens.inspection.explain import METHODS, Options, Pictures, Subject
from convlens.inspection.style import SEQUENTIAL
from convlens.report.shrink import shrunk

_SIDE = 96  # pixels of the longer side
_PICTURE = 0.4  # share of the picture in the mixture of picture and map


def overlays(classifier: Classifier, pixels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """What the prediction for each prepared picture uint8 [N, H, W, C] comes from, and notes on it.

    uint8 [N, h, w, 3]: the picture in gray, mixed with its map in color. Each map is scaled to its own largest value,
    so that colors of two pictures do not compare; a map of zeros stays of one color. The layer is the last stage with
    maps of a network of the zoo, else that of the method's own choice.

    Raises:
        InputError: no captum, no module, no layer that gives maps.
    """
    from matplotlib import colormaps

    subject = Subject(classifier, on_note=lambda note: None)
    names = tuple(map(str, range(len(pixels))))
    found = METHODS["grad-cam"].function(
        subject, Pictures(pixels, names), Options(layer=_layer(classifier), quiet=True)
    )
    maps = found.arrays["maps"]
    largest = maps.max(axis=(1, 2), keepdims=True)
    share = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    gray = pixels.mean(axis=3, keepdims=True) / 255
    mixed = _PICTURE * gray + (1 - _PICTURE) * colormaps[SEQUENTIAL](share)[..., :3]
    return shrunk(np.rint(255 * mixed).astype(np.uint8), _SIDE), found.notes


def _layer(classifier: Classifier) -> str | None:
    maps = [stage.path for stage in classifier.stages.values() if stage.stride is not None]
    return maps[-1] if maps else None
