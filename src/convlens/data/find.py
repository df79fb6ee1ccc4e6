"""`find`, which turns what a user calls data into a source."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from convlens.base.errors import InputError, nearest
from convlens.data.formats.folders import FolderSource
from convlens.data.images import Images
from convlens.data.shards.container import Shards
from convlens.data.shards.names import is_pattern, name_of, named
from convlens.data.shards.places import OnDisk
from convlens.data.source import ArraySource, Renamed, Source
from convlens.data.suffixes import TABLES


def find(
    source: Any,
    root: str | Path | None = None,
    *,
    stream: bool = False,
    classes: Sequence[str] | None = None,
    judged_by: Sequence[str] | None = None,
    on_download: Callable[[str, int, int], None] | None = None,
) -> Source:
    """The source that a name, a path or arrays stand for.

    source: one of `names()`; the path of a folder, zip or tar of images in class folders; tar shards (see
        `shards.names.named`); `Images`; a pair
        (pixels, labels) for `Images.from_arrays`; a dataset of (picture, label) (see `datasets.DatasetSource`); a
        mapping of parts ("train", "val", "test") to those; or two or three of those for train (, val) and test.
    root: where named sets are looked for first, instead of $CONVLENS_DATA.
    stream: decode the pictures of a folder or zip each time they are needed rather than ahead. Left to itself a source
        does that only where the decoded set would not fit on the disk.
    classes: in folders, zips and tars the classes that count, in the order of their labels; otherwise the names of the
        labels 0, 1, ... as many as there are.
    judged_by: the classes of a run, where the pictures are only to be judged by it: then a folder, zip or tar may lack
        classes, a training part, pictures that can be decoded.
    on_download: called now and then with (file name, bytes so far, bytes in all or 0 if not known).

    A named set that is not on this machine is downloaded. Raises `InputError` where nothing is found, or where `stream`
    is asked of what is no folder or zip.
    """
    found = _find(source, root, classes, judged_by, on_download)
    listing = getattr(found, "listing", None)
    if classes is not None and found.classes != tuple(classes) and not (listing is not None and listing.given):
        if listing is not None:
            raise InputError(f"{found.name} has names of its own for its classes; leave --classes away")
        found = Renamed(found, tuple(classes))
    if stream:
        if not isinstance(found, FolderSource):
            raise InputError(f"stream: {found.name} is held in memory; only a folder or zip of images can be streamed")
        return found.streamed()
    return found


def may_be_there(place: str) -> bool:
    """Whether a name, path or address that a set was read from may still lead to one: not that it is the same."""
    from convlens.data import catalogue

    return place in catalogue.SETS or is_pattern(place) or Path(place).exists()


def _find(
    source: Any,
    root: str | Path | None,
    classes: Sequence[str] | None,
    judged_by: Sequence[str] | None,
    on_download: Callable[[str, int, int], None] | None,
) -> Source:
    if isinstance(source, (str, Path)):
        return _find_path(source, root, classes, judged_by, on_download)
    if hasattr(source, "read") and hasattr(source, "classes"):
        return cast(Source, source)
    from convlens.data.datasets import DatasetSource, datasets_of

    if (parts := datasets_of(source)) is not None:
        return DatasetSource.of(parts)
    if isinstance(source, (Images, Mapping, tuple, list)):
        from convlens.data.arrays import parts_of

        return ArraySource.of(*parts_of(source))
    hint = "; give the dataset of a DataLoader" if hasattr(source, "dataset") else ""
    raise InputError(
        f"data must be a name, a path, Images, a pair (pixels, labels) or a dataset, not {type(source).__name__}{hint}"
    )


def _find_path(
    source: str | Path,
    root: str | Path | None,
    classes: Sequence[str] | None,
    judged_by: Sequence[str] | None,
    on_download: Callable[[str, int, int], None] | None,
) -> Source:
    from convlens.data import catalogue

    if isinstance(source, str) and source in catalogue.SETS:
        return catalogue.open_set(source, Path(root).expanduser() if root is not None else None, on_download)
    if (shards := named(str(source))) is not None:
        return FolderSource.of(
            Shards(str(source), shards, OnDisk()), name_of(shards), judged_by=judged_by, given=classes
        )
    path = Path(source).expanduser()
    if path.exists():
        return _open_path(path, classes, judged_by)
    raise InputError(
        f"no data set '{source}'{nearest(str(source), catalogue.SETS)}; "
        f"give the path of a folder, zip or tar, or one of {', '.join(catalogue.SETS)}"
    )


def _open_path(path: Path, classes: Sequence[str] | None, judged_by: Sequence[str] | None) -> Source:
    if path.is_dir():
        from convlens.data.formats import idx

        if files := idx.find_files(path):
            return idx.source(files, None, path.resolve().name)
    if path.suffix.lower() in (*TABLES, ".txt") and path.is_file():
        folder = path.absolute().parent
        return FolderSource.of(folder, folder.name, judged_by=judged_by, given=classes, table=path)
    return FolderSource.of(path, judged_by=judged_by, given=classes)
