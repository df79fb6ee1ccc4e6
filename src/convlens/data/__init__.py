"""Pictures: sources, splits, the one preprocessing. Augmentation and loader need PyTorch and are modules apart."""

from convlens.data.catalogue import SETS
from convlens.data.find import find, may_be_there
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess
from convlens.data.source import ArraySource, Reading, Source
from convlens.data.splits import Splits, split

__all__ = [
    "SETS",
    "ArraySource",
    "Images",
    "Preprocess",
    "Reading",
    "Source",
    "Splits",
    "find",
    "may_be_there",
    "names",
    "split",
]


def names() -> list[str]:
    """The data sets known by name."""
    return list(SETS)
