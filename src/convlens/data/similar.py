"""Pictures that look the same: re-encoded, made smaller or a little brighter, so that their bytes differ.

A picture's fingerprint says where it grows lighter from left to right, on 17 x 16 cells (the difference hash of
N. Krawetz, 2013, with 256 bits). Fingerprints of one picture in two files differ in a few bits; those of two pictures
in about half. A thumbnail decides where fingerprints are close by chance.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

SMALLEST = 48
"""Pixels: the shorter side of a picture from which on it is compared. Smaller ones have too little to tell them by."""

_BITS, _BANDS, _CLOSE = 256, 32, 20  # fingerprints closer than 32 bits agree in one of 32 bands at least
_NEAR = 5.0  # mean difference of the thumbnails, of 255
_PLAIN = 8.0  # standard deviation of the thumbnail: below it a picture is as good as one colour
_CROWD = 300  # pictures in one band: so common a band tells nothing


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


def similar(sketches: Sequence[Sketch]) -> Iterator[tuple[int, int]]:
    """The pairs (i, j), i < j, that look the same."""
    if not sketches:
        return
    fingerprints = np.stack([each.fingerprint for each in sketches])
    bands = np.packbits(fingerprints.reshape(len(sketches), _BANDS, -1), axis=2)
    pairs: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        alike: dict[bytes, list[int]] = defaultdict(list)
        for i, bits in enumerate(bands[:, band]):
            alike[bits.tobytes()].append(i)
        pairs |= {pair for group in alike.values() if len(group) <= _CROWD for pair in combinations(group, 2)}
    for i, j in sorted(pairs):
        if np.count_nonzero(fingerprints[i] != fingerprints[j]) > _CLOSE:
            continue
        if np.abs(sketches[i].thumbnail - sketches[j].thumbnail).mean() <= _NEAR:
            yield i, j
