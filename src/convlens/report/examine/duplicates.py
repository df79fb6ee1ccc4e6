"""Pictures of the test part that the network was trained on: equal pixel by pixel, or alike."""

from dataclasses import dataclass

import numpy as np

from convlens.data import Images
from convlens.data.similar import SMALLEST, similar, sketch

MOST = 100_000
"""Images: of more in all parts together, none are compared by their looks."""


@dataclass(frozen=True)
class Twin:
    """A test image and one that it equals: part ("train" or "val") and index of that one; exact: pixel by pixel."""

    test: int
    part: str
    index: int
    exact: bool


def equal(test: Images, others: dict[str, Images]) -> list[Twin]:
    """For each test image whose pixels stand in another part the first that is the same."""
    ours = test.fingerprints()
    found: dict[int, Twin] = {}
    for part, images in others.items():
        if not len(images):
            continue
        theirs = images.fingerprints()
        order = np.argsort(theirs, kind="stable")
        place = np.minimum(np.searchsorted(theirs[order], ours), len(theirs) - 1)
        for i in np.flatnonzero(theirs[order[place]] == ours).tolist():
            found.setdefault(i, Twin(i, part, int(order[place[i]]), exact=True))
    return [found[i] for i in sorted(found)]


def why_not_alike(test: Images, others: dict[str, Images]) -> str:
    """A key for the reason why looks are not compared, or ''."""
    if min(test.shape[1:]) < SMALLEST:
        return "small"
    if len(test) + sum(map(len, others.values())) > MOST:
        return "many"
    return ""


def alike(test: Images, others: dict[str, Images]) -> list[Twin]:
    """For each test image the first in another part that looks the same, equal ones among them (see `data.similar`)."""
    from PIL import Image

    places: list[tuple[str, int]] = []
    sketches = []
    for part, images in {"test": test, **others}.items():
        for i in range(len(images)):
            pixels = np.asarray(images.pixels[i])
            drawn = sketch(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB"))
            if drawn is not None:
                places.append((part, i))
                sketches.append(drawn)
    found: dict[int, Twin] = {}
    for a, b in similar(sketches, [int(part != "test") for part, _ in places]):
        (_, i), (part, index) = places[a], places[b]
        found.setdefault(i, Twin(i, part, index, exact=False))
    return [found[i] for i in sorted(found)]
