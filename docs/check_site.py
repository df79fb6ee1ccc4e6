"""Checks the built site: every public name of the rooms has its entry in the reference.

python docs/check_site.py      # after mkdocs build; exit code 1 and the missing names where some are not there
"""

import importlib
import inspect
import sys
import zlib
from pathlib import Path

ROOMS = ("ops", "nn", "geometry", "scratch", "models", "data")
INVENTORY = Path(__file__).parents[1] / "site" / "objects.inv"


def documented() -> set[str]:
    """The last parts of all names in the site's inventory (the format is Sphinx's)."""
    content = INVENTORY.read_bytes()
    lines = zlib.decompress(content.split(b"zlib.\n", 1)[1]).decode().splitlines()
    return {line.split(" ")[0].rpartition(".")[2] for line in lines}


def public(room: str) -> set[str]:
    """The functions and classes that a room exports."""
    module = importlib.import_module(f"convlens.{room}")
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    objects = {name: getattr(module, name) for name in names}
    return {
        getattr(each, "__name__", name)
        for name, each in objects.items()
        if (inspect.isfunction(each) or inspect.isclass(each))
        and getattr(each, "__module__", "").startswith("convlens.")
    }


def main() -> int:
    known = documented()
    missing = [f"{room}.{name}" for room in ROOMS for name in sorted(public(room) - known)]
    for name in missing:
        print(f"no entry in the reference: {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
