"""Where logs go: bench/results/<kind of processor>/<program>.json, so that two machines stand side by side."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convlens.base.hardware import machine

RESULTS = Path(__file__).parent / "results"


def kind() -> str:
    """Of this processor, by what arithmetic is fast on it: a folder name such as "avx2"."""
    names = machine().instructions
    if "amx_bf16" in names:
        return "amx"
    if "avx512_bf16" in names:
        return "avx512-bf16"
    return next((name for name in ("avx512f", "avx2", "sve", "asimd") if name in names), "other")


def surroundings() -> dict[str, Any]:
    """What every log says of the machine, its load and the versions."""
    packages = {name: version(name) for name in ("numpy", "torch", "pillow")}
    return {
        "machine": machine().to_dict(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), **packages},
    }


def write(name: str, report: dict[str, Any], out: Path | None) -> None:
    """Writes a log, to `out` or to its place."""
    path = out or RESULTS / kind() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report | surroundings(), indent=2) + "\n")
