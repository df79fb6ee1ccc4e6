"""The pictures of a container: their paths and common shape; kept in the cache where finding them took long."""

import io
import time
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from convlens.base.errors import InputError
from convlens.data import cache
from convlens.data.containers import Blob, Container, MemberError
from convlens.data.decode import open_image, orientation

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")


class Listing(BaseModel):
    """What the cache keeps of a listed archive; see `_list`."""

    model_config = ConfigDict(extra="forbid")

    paths: list[str]
    native: tuple[int, int, int] | None

    @classmethod
    def of(cls, value: Any) -> "Listing | None":
        try:
            return cls.model_validate(value)
        except ValidationError:
            return None


def list_pictures(container: Container) -> tuple[list[str], tuple[int, int, int] | None]:
    """(paths of the image files, their common (C, H, W) or None)."""
    key = f"{container.identity()}-{cache.FORMAT}" if container.slow_to_list else ""
    if key and (kept := Listing.of(cache.load_json("listings", key))):
        return kept.paths, kept.native
    started = time.monotonic()
    paths: list[str] = []
    sizes: set[tuple[int, int]] = set()
    colour = False
    for path, content in container.files():
        paths.append(path)
        if len(sizes) < 2 or not colour:
            try:
                blob = content()
            except MemberError:
                continue  # named when the images are read
            try:
                size, grey = _header(blob)
            except InputError:
                continue  # likewise
            sizes.add(size)
            colour = colour or not grey
    native = (3 if colour else 1, *sizes.pop()) if len(sizes) == 1 else None
    if key and time.monotonic() - started >= cache.WORTH_SECONDS:
        cache.save_json("listings", key, {"paths": paths, "native": native})
    return paths, native


def _header(blob: Blob) -> tuple[tuple[int, int], bool]:
    """((H, W) when upright, whether it is grey) from an image file's header."""
    with open_image(io.BytesIO(blob) if isinstance(blob, bytes) else blob) as image:
        width, height = image.size
        grey = image.mode in _GREY_MODES or image.mode.startswith("I;")
        return ((width, height) if orientation(image) > 4 else (height, width)), grey
