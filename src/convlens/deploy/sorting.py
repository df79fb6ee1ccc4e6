"""What to do with the answers for many pictures: a folder for each class, the most uncertain."""

import filecmp
import heapq
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from convlens.base.errors import InputError
from convlens.base.files import explained, make_folder, make_inner_folder
from convlens.data.formats.containers import open_container

_NO_NAME = re.compile(r'[\x00-\x1f/\\:*?"<>|]')


def margin(row: dict[str, Any]) -> float:
    """How far the first class is ahead of the second, in probability: 0 is a tie."""
    first, second = row["top"][0], row["top"][1] if len(row["top"]) > 1 else {"probability": 0.0}
    return first["probability"] - second["probability"]


def use(rows: Iterable[dict[str, Any]], sorter: "Sorter | None", uncertain: int) -> list[dict[str, Any]]:
    """Goes through rows once: sorts each picture, and gives the `uncertain` ones with the smallest margin, smallest
    first. These teach most when they are labeled next (margin sampling, Scheffer et al. 2001)."""
    seen = iter(rows) if sorter is None else map(sorter.put, rows)
    found = heapq.nsmallest(uncertain, (row for row in seen if "top" in row), key=margin)
    deque(seen, maxlen=0)  # nsmallest of 0 looks at none
    return found


class Sorter:
    """Puts pictures into folder/class/: copies, or links to them. What is there already is left as it is.

    folder: where to. link: symbolic links in place of copies.
    """

    def __init__(self, folder: Path, *, link: bool = False):
        self.folder, self._link = make_folder(folder), link
        self._readers: dict[Path, Callable[[str], Any]] = {}
        self.count = 0

    def put(self, row: dict[str, Any]) -> dict[str, Any]:
        """Puts the picture of one answer, and gives the row back; one that could not be read is left where it is.

        Raises:
            InputError: a picture without a file, a link to what is in an archive, no room on the disk.
        """
        if "label" not in row:
            return row
        source = Path(row["path"])
        target = make_inner_folder(self.folder / folder_name(row["label"]))
        is_there, make = self._way(source)
        with explained("write into", target):
            for place in _names(target, source.name):
                if not os.path.lexists(place):
                    make(place)
                elif not is_there(place):
                    continue
                break
        self.count += 1
        return row

    def _way(self, source: Path) -> tuple[Callable[[Path], bool], Callable[[Path], Any]]:
        """(whether a place holds this picture already, what puts it there)."""
        if source.is_file() and self._link:
            full = source.absolute()
            return lambda place: place.is_symlink() and os.readlink(place) == str(full), lambda p: p.symlink_to(full)
        if source.is_file():
            return (
                lambda place: place.is_file() and filecmp.cmp(source, place, shallow=False),
                lambda place: _whole(place, lambda draft: shutil.copy2(source, draft)),
            )
        content = self._member(source)
        return (
            lambda place: place.is_file() and place.read_bytes() == content,
            lambda place: _whole(place, lambda draft: draft.write_bytes(content)),
        )

    def _member(self, source: Path) -> bytes:
        archive = next((parent for parent in source.parents if parent.is_file()), None)
        if archive is None:
            raise InputError(f"{source} is no file that could be sorted: give files, folders or archives")
        if self._link:
            raise InputError(f"there can be no link to {source}, which is inside an archive: leave --link away")
        if archive not in self._readers:
            self._readers = {archive: open_container(archive).reader()}
        return self._readers[archive](source.relative_to(archive).as_posix())


def _names(folder: Path, name: str) -> Iterator[Path]:
    """folder/a.png, folder/a-2.png, folder/a-3.png, ...: two pictures of one name may be of one class."""
    yield folder / name
    stem, suffix = os.path.splitext(name)
    number = 2
    while True:
        yield folder / f"{stem}-{number}{suffix}"
        number += 1


def _whole(place: Path, make: Callable[[Path], Any]) -> None:
    """Makes a file whole or not at all."""
    draft = place.with_name(f".{place.name[:200]}.tmp")
    try:
        make(draft)
        os.replace(draft, place)
    finally:
        draft.unlink(missing_ok=True)


def folder_name(label: str) -> str:
    """The name of a class as that of a folder: the classes of a run from elsewhere may be called anything."""
    name = _NO_NAME.sub("_", label).strip(" .")
    return name or "_"
