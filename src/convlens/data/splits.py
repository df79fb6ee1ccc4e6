"""Training, validation and test parts: official ones stay, missing ones are cut from the training part."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.base.seeds import generator
from convlens.data.images import Images


class Splits(NamedTuple):
    """The three disjoint parts of a data set, with the same classes."""

    train: Images
    val: Images
    test: Images


def split(parts: Mapping[str, Images], *, seed: int, val_fraction: float = 0.1, test_fraction: float = 0.2) -> Splits:
    """Training, validation and test part of what a source gave.

    parts: "train" and, where the source has them, "val" and "test"; those are kept as they are.
    A missing test part is `test_fraction` of the training part; a missing validation part is then
    `val_fraction` of what remains. Both are drawn class by class (stratified: within one image of the exact
    fraction of each class, at least one image, and at least one stays) and depend on `seed` alone, so
    the same test part comes out whatever the validation fraction is. Order within a part is the source's.

    Raises `InputError` for fractions outside 0..1 (0: that part stays empty), differing classes, a class that
    has too few images to be split, or a training part with no images or only one class.
    """
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise InputError(f"{name} must be at least 0 and less than 1, not {fraction}")
    check(parts)
    train = parts["train"]
    test, val = parts.get("test"), parts.get("val")
    needed = 1 + (test is None and test_fraction > 0) + (val is None and val_fraction > 0)
    _check_counts(train, needed)
    if test is None:
        train, test = _cut(train, test_fraction, seed, "test", leave=2 if val is None else 1)
    if val is None:
        train, val = _cut(train, val_fraction, seed, "val", leave=1)
    return Splits(train, val, test)


def check(parts: Mapping[str, Images]) -> None:
    if "train" not in parts:
        raise InputError("there is no training part; name one folder 'train', or give none of train, val and test")
    train = parts["train"]
    for name, part in parts.items():
        if name not in ("train", "val", "test"):
            raise InputError(f"{train.name}: unknown part '{name}'; the parts are train, val and test")
        if part.classes != train.classes:
            raise InputError(
                f"{train.name}: the classes of {name} differ from those of train: "
                f"{_difference(train.classes, part.classes)}; make them the same"
            )
        if part.shape != train.shape:
            raise InputError(f"{train.name}: images of {name} are {part.shape}, of train {train.shape} (C, H, W)")


def _difference(train: tuple[str, ...], other: tuple[str, ...]) -> str:
    only_train = [name for name in train if name not in other]
    only_other = [name for name in other if name not in train]
    said = [f"only in train: {', '.join(only_train[:3])}"] if only_train else []
    said += [f"not in train: {', '.join(only_other[:3])}"] if only_other else []
    return "; ".join(said) or "the order is another"


def _check_counts(train: Images, needed: int) -> None:
    if len(train) == 0:
        raise InputError(f"{train.name}: no images to train on")
    counts = train.counts()
    if len(counts) < 2 or np.count_nonzero(counts) < 2:
        raise InputError(
            f"{train.name}: only one class ({train.classes[int(train.labels[0])]}); two or more are needed"
        )
    for name, count in zip(train.classes, counts.tolist(), strict=True):
        if 0 < count < needed:
            raise InputError(
                f"{train.name}: class '{name}' has only {count} image{'s' * (count != 1)}, but {needed} are needed to "
                "split it; add images to it, remove the class, or provide train, val and test parts"
            )


def _cut(images: Images, fraction: float, seed: int, part: str, leave: int) -> tuple[Images, Images]:
    """(what remains, what was cut). leave: so many images of each class remain if it has more than that."""
    chosen = np.zeros(len(images), bool)
    if fraction > 0:
        by_class = np.split(np.argsort(images.labels, kind="stable"), np.cumsum(images.counts())[:-1])
        for label, members in enumerate(by_class):  # in the order of the source within each class
            if len(members):
                count = min(max(1, round(len(members) * fraction)), max(len(members) - leave, 1))
                order = generator(seed, "split", part, label).permutation(len(members))
                chosen[members[order[:count]]] = True
    return images.select(~chosen), images.select(chosen)
