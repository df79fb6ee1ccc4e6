"""Pictures that look the same: re-encoded, made smaller or a little brighter, so that their bytes differ.

A picture's fingerprint says where it grows lighter from left to right, on 17 x 16 cells (the difference hash of
N. Krawetz, 2013, with 256 bits). Fingerprints of one picture in two files differ in a few bits; those of two pictures
in about half. A thumbnail decides where fingerprints are close by chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

SMALLEST = 48
"""Pixels: the shorter side of a picture from which on it is compared. Smaller ones have too little to tell them by."""

_BITS, _CLOSE = 256, 20  # of a fingerprint, and in how many two of one picture may differ
_NEAR = 5.0  # mean difference of the thumbnails, of 255
_PLAIN = 8.0  # standard deviation of the thumbnail: below it a picture is as good as one color
_PARTNERS = 8  # pairs that begin with one picture
_PRODUCTS = 1 << 24  # compared at once: 64 MiB


@dataclass(frozen=True)
class Sketch:
    """fingerprint: bool [256]. thumbnail: float32 [16, 16, 3], of 0 to 255, its mean taken away."""

    fingerprint: np.ndarray
    thumbnail: np.ndarray


def sketch(image: Image.Image) -> Sketch | None:
    """Of an upright RGB picture; None if it is too small or too plain to be told from others."""
    if min(image.size) < SMALLEST:
        return None
    thumbnail = np.asarray(image.resize((16, 16), Image.Resampling.BOX), np.float32)
    if thumbnail.std(axis=(0, 1)).max() < _PLAIN:
        return None
    cells = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return Sketch((cells[:, 1:] > cells[:, :-1]).reshape(-1), thumbnail - thumbnail.mean())


def similar(sketches: Sequence[Sketch], kinds: Sequence[int] | None = None) -> Iterator[tuple[int, int]]:
    """The pairs (i, j), i < j, that look the same.

    kinds: a number for each; pairs of the same number are left out. Of each i the first partners are given, so that a
    series of nearly equal pictures makes a list that is no longer than some times the series.
    """
    if not sketches:
        return
    # the product of two rows of signs is 256 less twice the bits in which they differ: fast, and no pair is missed
    signs = np.stack([each.fingerprint for each in sketches]).astype(np.float32) * 2 - 1
    kind = np.arange(len(sketches)) if kinds is None else np.asarray(kinds)
    step = max(1, _PRODUCTS // len(sketches))
    for start in range(0, len(sketches), step):
        alike = signs[start : start + step] @ signs[start:].T >= _BITS - 2 * _CLOSE
        for row in np.flatnonzero(alike.sum(axis=1) > 1):
            i = start + int(row)
            others = start + np.flatnonzero(alike[row])
            others = others[(others > i) & (kind[others] != kind[i])]
            near = (int(j) for j in others if np.abs(sketches[i].thumbnail - sketches[j].thumbnail).mean() <= _NEAR)
            yield from ((i, j) for j in islice(near, _PARTNERS))
