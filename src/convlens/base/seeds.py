"""Addressed randomness: a random number is named by where it is used, not by what was drawn before it.

Order, augmentation and dropout derive from an address such as ``(seed, "order", epoch)``. A run that is
killed and resumed at any step therefore draws exactly what the uninterrupted run would have drawn,
without any generator state in the checkpoint.
"""

import hashlib

import numpy as np


def derive(seed: int, *address: str | int) -> int:
    """A 63-bit seed for the given address. Equal addresses give equal seeds, others independent ones."""
    text = "/".join([str(int(seed)), *map(str, address)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *address: str | int) -> np.random.Generator:
    """A NumPy generator (Philox, counter-based) for the given address."""
    return np.random.Generator(np.random.Philox(key=derive(seed, *address)))
