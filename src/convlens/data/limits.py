"""How large one picture may be, as a file and decoded. Settable, because there are good pictures of any size."""

import os

from convlens.base.errors import InputError

MAX_BYTES, MAX_PIXELS = "CONVLENS_MAX_BYTES", "CONVLENS_MAX_PIXELS"
"""Environment variables."""


def max_bytes() -> int:
    """The largest file that is read as one picture: $CONVLENS_MAX_BYTES, or 256 MiB."""
    return _setting(MAX_BYTES, 256 << 20)


def max_pixels() -> int:
    """The most pixels that one picture may have: $CONVLENS_MAX_PIXELS, or 178,956,970, where Pillow stops too."""
    return _setting(MAX_PIXELS, 178_956_970)


def _setting(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) > 0):
        raise InputError(f"{name} must be a whole number above 0, such as {default}, not {text[:40]!r}")
    return int(text)
