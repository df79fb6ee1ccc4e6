"""Where downloads and decoded pictures are kept: $CONVLENS_CACHE, else the platform's cache folder."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder (which need not exist yet). $CONVLENS_CACHE, or convlens in the platform's cache folder."""
    if chosen := os.environ.get("CONVLENS_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "convlens" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "convlens"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convlens"
