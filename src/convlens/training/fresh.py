"""Names of new run folders. Imports no PyTorch."""

import datetime
from pathlib import Path
from typing import Any

from convlens.training.options import DEFAULT_DATA, DEFAULT_MODEL


def fresh_path(model: Any, source: Any) -> Path:
    """`runs/<model>-<data>-<time>`, with a number behind it where that exists already."""
    name = (
        model.rpartition(":")[2] if isinstance(model, str) else DEFAULT_MODEL if model is None else type(model).__name__
    )
    if isinstance(source, (str, Path)):
        images = Path(source).resolve().name.split(".")[0] or "data"
    else:
        images = DEFAULT_DATA if source is None else "arrays"
    words = [name, images, datetime.datetime.now().strftime("%Y%m%d-%H%M%S")]
    base = Path("runs") / "-".join("".join(c if c.isalnum() or c in "._-" else "-" for c in word) for word in words)
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path
