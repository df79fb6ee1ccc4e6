"""A folder, zip or tar of image files in class folders as a source: decoded in parallel, kept decoded in the cache."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from convlens.base.errors import InputError
from convlens.base.hardware import disk_free
from convlens.base.words import bytes_text
from convlens.data.formats.containers import Blob, Container, Folder, MemberError, UnpackError, open_container
from convlens.data.formats.listing import Pictures
from convlens.data.images import Images
from convlens.data.layout.classes import Layout
from convlens.data.layout.known import lay_out_known
from convlens.data.layout.labeled import lay_out_folder
from convlens.data.layout.tree import lay_out
from convlens.data.limits import max_bytes, max_pixels
from convlens.data.naming import printable
from convlens.data.preprocess import Preprocess
from convlens.data.source import Progress
from convlens.data.store import cache
from convlens.data.store.encoded import Decoder, EncodedRows, Examined
from convlens.data.store.rows import Pixels
from convlens.data.suffixes import has_heif, why_unreadable

_BATCH, _BATCH_BYTES = 64, 1 << 23
_HELD_BYTES = 1 << 28  # of batches that wait for a thread
_THREADS_FROM_BYTES = 8192  # an image; decoding smaller ones is mostly Python, which threads do not speed up


class FolderSource:
    """See `Source`. Made from a container or the path of one.

    stream: whether pictures are decoded each time they are needed rather than ahead; set it before `read`.
    judged_by: the classes of a run, if the pictures are only to be judged by it (see `find`).
    given: the names of the classes that count, where the user named them.
    table: a file of labels, if that says which pictures are of which class (see `labeled.lay_out_folder`).
    native is judged from the headers of all pictures that are used.
    Raises `InputError` if the tree's layout cannot be used (see `tree.lay_out`).
    """

    def __init__(
        self,
        container: Container | Path,
        name: str | None = None,
        notes: list[str] | None = None,
        judged_by: Sequence[str] | None = None,
        given: Sequence[str] | None = None,
        table: Path | None = None,
    ):
        self.container = open_container(container) if isinstance(container, Path) else container
        self.path = self.container.path
        self.name = name or _name(self.path)
        self.table, pictures = table, Pictures(self.container)
        self.judged_by, self.given = judged_by, list(given or [])
        self.layout: Layout = self._lay_out(pictures.paths)
        self.native = pictures.native({path for items in self.layout.parts.values() for path, _ in items})
        self.classes = self.layout.classes
        self.notes = [*(notes or []), *self.layout.notes, *self.container.remarks()]
        self.skipped: list[tuple[str, str]] = []
        self.stream = False

    def _lay_out(self, paths: list[str]) -> Layout:
        try:
            if not isinstance(self.container, Folder):
                return lay_out(paths, str(self.path), self.given)
            return lay_out_folder(paths, self.path, self.given, self.table, judged=self.judged_by is not None)
        except InputError:
            known = None if self.judged_by is None else lay_out_known(paths, self.name, self.judged_by)
            if known is None or self.table is not None:
                raise
            return known

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> dict[str, Images]:
        """See `Source.read`. A file that cannot be decoded is left out and named in `skipped`.

        The pictures are decoded ahead, or looked at once and decoded each time they are needed (`stream`, and where the
        decoded set would not fit on the disk): the same pixels, labels and fingerprints either way.

        Raises `InputError` if a class is left without images, or a tar would have to be decoded on the way.
        """
        entry = cache.Decoded(self._key(preprocess))
        kept = None if self.stream else self._load(entry)
        if kept is not None:
            return self._parts(kept)
        why = "as asked" if self.stream else self._no_room(preprocess)
        if why is None:
            try:
                room = self._room(preprocess, entry)
            except InputError as error:  # a cache that is read-only, or fuller than it says
                why = str(error)
            else:
                return self._parts(self._decode(preprocess, entry, room, on_progress, cache.WORTH_SECONDS))
        return self._parts(self._look(preprocess, on_progress, why))

    def decode_ahead(self, preprocess: Preprocess, on_progress: Progress | None = None) -> Path:
        """Decodes the set into the cache, unless it is there, however little time that saves. Returns the folder.

        Raises `InputError` if the cache has no room for it or cannot be written.
        """
        entry = cache.Decoded(self._key(preprocess))
        if self._load(entry) is not None:
            return entry.folder
        if why := self._no_room(preprocess):
            raise InputError(f"{self.path}: {why}; choose another disk with $CONVLENS_CACHE")
        self._parts(self._decode(preprocess, entry, self._room(preprocess, entry), on_progress, worth_keeping=0))
        if entry.load() is None:
            why = entry.failure or "cannot be written"
            raise InputError(f"{entry.folder}: {why}; choose another place with $CONVLENS_CACHE")
        return entry.folder

    def _load(self, entry: cache.Decoded) -> dict[str, np.ndarray] | None:
        found = entry.load()
        if found is None:
            return None
        arrays, skipped = found
        if not _are_pairs(skipped) or {name: len(array) for name, array in arrays.items()} != self._counts(skipped):
            return None  # damaged: decoded again
        self.skipped = [(path, why) for path, why in skipped]
        return arrays

    def _counts(self, skipped: list[list[str]]) -> dict[str, int]:
        """How many pictures of each part are left without these."""
        without = {path for path, _ in skipped}
        return {
            part: sum(printable(path) not in without for path, _ in items) for part, items in self.layout.parts.items()
        }

    def _key(self, preprocess: Preprocess) -> str:
        """Names the decoded pictures: by the files and everything that decoding depends on."""
        how = (cache.FORMAT, preprocess.size, preprocess.channels, preprocess.interpolation)
        how = (*how, PIL.__version__, has_heif(), max_bytes(), max_pixels(), self.layout.parts)
        return hashlib.blake2b(f"{self.container.identity()} {how}".encode(), digest_size=16).hexdigest()

    def _no_room(self, preprocess: Preprocess) -> str | None:
        """Why the decoded pictures do not fit on the disk, if they do not."""
        picture = preprocess.size[0] * preprocess.size[1] * preprocess.channels
        sizes = (picture * len(items) for items in self.layout.parts.values())
        needed, free = sum(size for size in sizes if size >= cache.LARGE), disk_free(cache.cache_folder()) or 0
        if needed == 0 or needed + cache.RESERVE <= free:
            return None
        return f"decoded ahead they take {bytes_text(needed)}, and {cache.cache_folder()} has {bytes_text(free)} free"

    def _room(self, preprocess: Preprocess, entry: cache.Decoded) -> dict[str, np.ndarray]:
        shape = (*preprocess.size, preprocess.channels)
        try:
            return {part: entry.empty(part, (len(items), *shape)) for part, items in self.layout.parts.items()}
        except InputError:
            entry.discard()
            raise

    def _decode(
        self,
        preprocess: Preprocess,
        entry: cache.Decoded,
        arrays: dict[str, np.ndarray],
        on_progress: Progress | None,
        worth_keeping: float,
    ) -> dict[str, np.ndarray]:
        """Into `arrays`. worth_keeping: seconds of decoding from which the result is kept in the cache."""
        started = time.monotonic()
        try:

            def fill(part: str, row: int, picture: np.ndarray) -> None:
                arrays[part][row] = picture

            good = self._without(self._each(preprocess, fill, on_progress), arrays)
            if time.monotonic() - started >= worth_keeping:
                good = entry.keep(good, self.skipped)
                if entry.failure:
                    self.notes.append(f"the decoded pictures are not kept for the next time: {entry.failure}")
            return good
        finally:
            entry.discard()

    def _look(self, preprocess: Preprocess, on_progress: Progress | None, why: str) -> dict[str, Pixels]:
        """The pictures as files. Each is decoded once before: names the damaged ones, gives fingerprint and mean."""
        try:
            decoder = Decoder(self.container.reader(), preprocess, str(self.path))
        except InputError as error:
            raise InputError(f"{error} (pictures are to be decoded when they are needed: {why})") from error
        self.notes.append(f"pictures are decoded when they are needed: {why}")
        key, parts = self._key(preprocess), self.layout.parts
        seen = self._examined(cache.load_arrays("examined", key), preprocess.channels)
        if seen is None:
            seen = {part: Examined.empty(len(items), preprocess.channels) for part, items in parts.items()}
            self._name_skipped(self._each(preprocess, lambda part, *what: seen[part].fill(*what), on_progress))
            arrays = {f"{part}.{field}": array for part in seen for field, array in seen[part]._asdict().items()}
            cache.save_arrays("examined", key, arrays, {"skipped": self.skipped})
        gone = {path for path, _ in self.skipped}
        rows: dict[str, Pixels] = {}
        for part, items in parts.items():
            good = np.array([printable(path) not in gone for path, _ in items], bool)
            paths = np.array([path for path, _ in items], object)
            rows[part] = EncodedRows(decoder, paths[good], seen[part].select(good))
        return rows

    def _examined(self, kept: tuple[dict[str, np.ndarray], Any] | None, channels: int) -> dict[str, Examined] | None:
        """What the cache kept of each part; None if that is nothing, or of another set."""
        if kept is None or not _are_pairs(kept[1].get("skipped")):
            return None
        seen = {}
        for part, items in self.layout.parts.items():
            one = Examined.kept(kept[0], f"{part}.", len(items), channels)
            if one is None:
                return None
            seen[part] = one
        self.skipped = [(path, why) for path, why in kept[1]["skipped"]]
        return seen

    def _each(
        self, preprocess: Preprocess, use: Callable[[str, int, np.ndarray], None], on_progress: Progress | None
    ) -> dict[str, str]:
        """`use(part, row, prepared picture)` for every file, from several threads. Returns why some failed, by path."""
        where = {path: (part, row) for part, items in self.layout.parts.items() for row, (path, _) in enumerate(items)}
        failed: dict[str, str] = {}

        def work(batch: list[tuple[str, Blob]]) -> int:
            for path, blob in batch:
                try:
                    picture = preprocess.prepare(blob, printable(path))
                except InputError as error:
                    failed[path] = str(error)
                else:
                    use(*where[path], picture)
            return len(batch)

        workers = min(8, os.cpu_count() or 1)
        done, total, pending, held = 0, len(where), deque(), 0
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            for batch, size in _batches(self.container, where, failed):
                if size < _THREADS_FROM_BYTES * len(batch):
                    done += work(batch)
                    if on_progress:
                        on_progress(done, total)
                    continue
                pending.append((pool.submit(work, batch), size))
                held += size
                while len(pending) > 2 * workers or (pending and held > _HELD_BYTES):
                    future, size = pending.popleft()
                    done, held = done + future.result(), held - size
                    if on_progress:
                        on_progress(done, total)
            for future, _ in pending:
                done += future.result()
        if on_progress:
            on_progress(total, total)
        return failed

    def _name_skipped(self, failed: dict[str, str]) -> None:
        self.skipped = []
        for path in (path for items in self.layout.parts.values() for path, _ in items if path in failed):
            name = printable(path)
            self.skipped.append((name, failed[path].removeprefix(f"{name}: ")))

    def _without(self, failed: dict[str, str], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Moves the good rows together, in place (an array may be a large memory map)."""
        self._name_skipped(failed)
        for part, items in self.layout.parts.items():
            array, row = arrays[part], 0
            for number, (path, _) in enumerate(items):
                if path not in failed:
                    if row != number:
                        array[row] = array[number]
                    row += 1
            arrays[part] = array[:row]
        return arrays

    def _parts(self, arrays: Mapping[str, Pixels]) -> dict[str, Images]:
        gone = {path for path, _ in self.skipped}
        parts = {}
        for part, items in self.layout.parts.items():
            good = [(path, label) for path, label in items if printable(path) not in gone]
            labels, paths = (
                np.array([label for _, label in good], np.int64),
                np.array([path for path, _ in good], object),
            )
            parts[part] = Images(arrays[part], labels, self.classes, self.name, paths)
            for label, count in enumerate(parts[part].counts().tolist()):
                if count == 0 and self.judged_by is None:
                    name = self.classes[label]
                    own = {printable(path) for path, number in items if number == label}
                    path, why = next(item for item in self.skipped if item[0] in own)
                    raise InputError(
                        f"{self.path}: none of the {part} images of class '{name}' can be decoded "
                        f"(such as {path}: {why}); replace them or remove the class"
                    )
        self.skipped = [*self.skipped, *self.layout.left_out]
        return parts


def _batches(
    container: Container, where: dict[str, tuple[str, int]], failed: dict[str, str]
) -> Iterator[tuple[list[tuple[str, Blob]], int]]:
    """(some of the wanted files, their size in bytes), in the container's order."""
    batch: list[tuple[str, Blob]] = []
    size = 0
    missing = dict.fromkeys(where)
    for path, content in container.files():
        if path not in where:
            continue
        missing.pop(path, None)
        if why := why_unreadable(path):
            failed[path] = why
            continue
        try:
            blob = content()
            size += len(blob) if isinstance(blob, bytes) else blob.stat().st_size
        except UnpackError as error:  # unlike a bad picture: what else came with it is not to be trusted either
            raise InputError(
                f"{container.path}: {printable(path)} {error}; copy or download the archive again, or unpack it and "
                "give the folder"
            ) from error
        except MemberError as error:
            failed[path] = str(error)
            continue
        except FileNotFoundError:
            failed[path] = "no longer there"
            continue
        batch.append((path, blob))
        if len(batch) == _BATCH or size > _BATCH_BYTES:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size
    failed.update((path, "no longer there") for path in missing)


def _name(path: Path) -> str:
    name = path.resolve().name
    for ending in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".tar"):
        if path.is_file() and name.lower().endswith(ending):
            name = name[: -len(ending)]
    return printable(name) or "images"


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in value
    )
