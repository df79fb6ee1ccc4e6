"""The size of the network's input, where nobody asked for one."""

import torch

from convlens import data, models
from convlens.base.errors import InputError


def input_for(
    source: data.Source, own: models.ModelEntry | None, size: int | tuple[int, int] | None = None
) -> data.Preprocess:
    """Input size and channels: what was asked for, else the images' own where they are small and of one size.

    own: the network's entry in the zoo, if it has one.
    """
    channels = source.native[0] if source.native else 3
    if size is not None:
        return data.Preprocess((size, size) if isinstance(size, int) else size, channels)
    _, height, width = own.input if own is not None and len(own.input) == 3 else (0, 28, 28)
    if source.native is None or min(source.native[1:]) > 64:  # photographs: at least 64 pixels a side
        return data.Preprocess((max(64, height), max(64, width)), channels)
    _, native_height, native_width = source.native
    if own is not None and max(height, width) > 64:  # made for photographs: not more pixels than it needs
        return data.Preprocess(_smallest_size(own, source.native), channels)
    if native_height >= height and native_width >= width:
        height, width = native_height, native_width
    return data.Preprocess((height, width), channels)


def _smallest_size(own: models.ModelEntry, native: tuple[int, int, int]) -> tuple[int, int]:
    """The size for small images on a network for large ones: their own, at least 32 pixels, or the next that works."""
    _, height, width = native
    for least in (32, 64, 96, 128):
        size = (max(height, least), max(width, least))
        try:
            with torch.device("meta"):
                models.create(own.name, image_size=size)
            return size
        except InputError:
            continue
    return own.input[1], own.input[2]
