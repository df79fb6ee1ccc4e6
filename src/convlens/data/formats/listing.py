"""Which pictures of a container are used: of which part and class, and what was left out on finding that."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from convlens.base.errors import InputError
from convlens.data.formats.containers import Container, open_container
from convlens.data.formats.headers import Headers
from convlens.data.images import Images
from convlens.data.layout.classes import Layout
from convlens.data.layout.known import lay_out_known
from convlens.data.layout.labeled import lay_out_by, lay_out_labeled, number_or_judge
from convlens.data.limits import max_bytes, max_pixels
from convlens.data.naming import printable
from convlens.data.preprocess import Preprocess
from convlens.data.shards.container import Shards
from convlens.data.store import cache
from convlens.data.store.rows import Pixels
from convlens.data.suffixes import has_heif

Skipped = tuple[tuple[str, str], ...]
"""(path, reason) of each picture file that is not used."""


@dataclass(frozen=True, eq=False)
class Listing:
    """The pictures of a container, none of them decoded yet. It never changes.

    parts: for each part, (path, label) in order of class, then of path.
    native: (C, H, W) of the pictures, judged from all their headers; None if they differ.
    given: whether the user named the classes that count.
    judged: whether the pictures are only to be judged, so that classes may be missing.
    left_out: files that belong to no class.
    """

    container: Container
    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[tuple[str, int], ...]]
    native: tuple[int, int, int] | None
    notes: tuple[str, ...] = ()
    left_out: Skipped = ()
    given: bool = False
    judged: bool = False

    @classmethod
    def of(
        cls,
        container: Container | Path,
        name: str | None = None,
        notes: Sequence[str] = (),
        judged_by: Sequence[str] | None = None,
        given: Sequence[str] | None = None,
        table: Path | None = None,
    ) -> "Listing":
        """Of a container or the path of one.

        judged_by: the classes of a run, if the pictures are only to be judged by it (see `find`).
        given: the names of the classes that count, where the user named them.
        table: a file of labels, if that says which pictures are of which class (see `labeled.lay_out_by`).
        Raises `InputError` if the tree's layout cannot be used (see `tree.lay_out`).
        """
        container = open_container(container) if isinstance(container, Path) else container
        name = name or _name(Path(container.path))
        headers = container if isinstance(container, Shards) else Headers(container)
        layout = _lay_out(headers, name, judged_by, list(given or ()), table)
        return cls(
            container, name, layout.classes, {part: tuple(items) for part, items in layout.parts.items()},
            headers.native({path for items in layout.parts.values() for path, _ in items}),
            (*notes, *layout.notes, *container.remarks()), tuple(layout.left_out), bool(given), judged_by is not None,
        )  # fmt: skip

    @property
    def path(self) -> Path | str:
        return self.container.path

    def __len__(self) -> int:
        return sum(map(len, self.parts.values()))

    def without(self, skipped: Skipped) -> dict[str, np.ndarray]:
        """bool [N] for each part: which pictures are none of these."""
        gone = {path for path, _ in skipped}
        return {
            part: np.array([printable(path) not in gone for path, _ in items], bool)
            for part, items in self.parts.items()
        }

    def key(self, preprocess: Preprocess) -> str:
        """Names the decoded pictures: by the files and everything that decoding depends on."""
        how = (cache.FORMAT, preprocess.size, preprocess.channels, preprocess.interpolation)
        how = (*how, PIL.__version__, has_heif(), max_bytes(), max_pixels(), self.parts)
        return hashlib.blake2b(f"{self.container.identity()} {how}".encode(), digest_size=16).hexdigest()

    def images(self, pixels: Mapping[str, Pixels], skipped: Skipped) -> dict[str, Images]:
        """The parts, without what was skipped.

        pixels: uint8 [n, H, W, C] of each part, without them already.
        Raises `InputError` if a class is left without images.
        """
        parts = {}
        for part, good in self.without(skipped).items():
            items = self.parts[part]
            labels = np.array([label for _, label in items], np.int64)[good]
            paths = np.array([path for path, _ in items], object)[good]
            parts[part] = Images(pixels[part], labels, self.classes, self.name, paths)
            if not self.judged:
                self._require_all(part, parts[part].counts(), skipped)
        return parts

    def _require_all(self, part: str, counts: np.ndarray, skipped: Skipped) -> None:
        reasons = dict(skipped)
        for label in np.flatnonzero(counts == 0).tolist():
            own = (printable(path) for path, number in self.parts[part] if number == label)
            path = next((path for path in own if path in reasons), None)
            if path is not None:
                raise InputError(
                    f"{self.path}: none of the {part} images of class '{self.classes[label]}' can be decoded "
                    f"(such as {path}: {reasons[path]}); replace them or remove the class"
                )


def _lay_out(
    headers: Headers | Shards, name: str, judged_by: Sequence[str] | None, given: list[str], table: Path | None
) -> Layout:
    if isinstance(headers, Shards):
        labels, paths, place = headers.labels(), headers.paths, Path(headers.path)
        if labels is not None:
            return number_or_judge(labels, headers.path, given, judged=judged_by is not None)
    else:
        paths, place = headers.paths, Path(headers.container.path)
    try:
        if table is not None:
            return lay_out_by(table, paths, given, judged=judged_by is not None)
        return lay_out_labeled(paths, place, headers.tables(), given)
    except InputError:
        known = None if judged_by is None else lay_out_known(paths, name, judged_by)
        if known is None or table is not None:
            raise
        return known


def _name(path: Path) -> str:
    name = path.resolve().name
    for ending in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".tar"):
        if path.is_file() and name.lower().endswith(ending):
            name = name[: -len(ending)]
    return printable(name) or "images"
