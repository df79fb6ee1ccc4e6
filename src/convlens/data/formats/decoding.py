"""Decoding the pictures of a listing, each once, several at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from convlens.base.errors import InputError
from convlens.data.decode import one_large_at_a_time, open_image, orientation
from convlens.data.formats.containers import Blob, MemberError, UnpackError
from convlens.data.formats.listing import Listing, Skipped
from convlens.data.naming import printable
from convlens.data.preprocess import Preprocess
from convlens.data.source import Progress
from convlens.data.store.rows import Pixels
from convlens.data.suffixes import why_unreadable

_BATCH, _BATCH_BYTES = 64, 1 << 23
_HELD_BYTES = 1 << 28  # of batches that wait for a thread
_THREADS_FROM_BYTES = 8192  # an image; decoding smaller ones is mostly Python, which threads do not speed up


class Outcome(BaseModel):
    """What was found on decoding: (path, reason) of what could not be, how many pictures an EXIF tag turned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skipped: Skipped = ()
    turned: Annotated[int, Field(ge=0)] = 0


class Prepared(NamedTuple):
    """The good pictures of each part, uint8 [n, H, W, C], what was found, and what a person should know."""

    pixels: dict[str, Pixels]
    outcome: Outcome
    notes: tuple[str, ...] = ()


def prepare_each(
    listing: Listing,
    preprocess: Preprocess,
    use: Callable[[str, int, np.ndarray], None],
    on_progress: Progress | None,
) -> Outcome:
    """`use(part, row, prepared picture)` for every file, from several threads."""
    where = {path: (part, row) for part, items in listing.parts.items() for row, (path, _) in enumerate(items)}
    failed: dict[str, str] = {}
    turned: list[str] = []

    def work(batch: list[tuple[str, Blob]]) -> int:
        for path, blob in batch:
            try:
                picture, tag = _prepare(preprocess, blob, printable(path))
            except InputError as error:
                failed[path] = str(error)
            else:
                use(*where[path], picture)
                turned.extend([path] * (tag != 1))
        return len(batch)

    done = 0
    for count in _in_threads(work, _batches(listing, where, failed)):
        done += count
        if on_progress:
            on_progress(done, len(where))
    if on_progress:
        on_progress(len(where), len(where))
    names = [(printable(path), failed[path]) for path in where if path in failed]
    return Outcome(skipped=tuple((name, why.removeprefix(f"{name}: ")) for name, why in names), turned=len(turned))


def _prepare(preprocess: Preprocess, blob: Blob, name: str) -> tuple[np.ndarray, int]:
    """(the picture, its EXIF tag of orientation)."""
    with open_image(blob, name) as image, one_large_at_a_time(image):
        return preprocess.prepare(image, name), orientation(image)


def _in_threads(work: Callable[[list], int], batches: Iterator[tuple[list, int]]) -> Iterator[int]:
    """What `work` gives for each batch; batches of small files are done here and now. batches: (batch, its bytes)."""
    workers = min(8, os.cpu_count() or 1)
    pending: deque[tuple[Future[int], int]] = deque()
    held = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        for batch, size in batches:
            if size < _THREADS_FROM_BYTES * len(batch):
                yield work(batch)
                continue
            pending.append((pool.submit(work, batch), size))
            held += size
            while len(pending) > 2 * workers or (pending and held > _HELD_BYTES):
                future, size = pending.popleft()
                held -= size
                yield future.result()
        for future, _ in pending:
            yield future.result()


def _batches(
    listing: Listing, where: dict[str, tuple[str, int]], failed: dict[str, str]
) -> Iterator[tuple[list[tuple[str, Blob]], int]]:
    """(some of the wanted files, their size in bytes), in the container's order."""
    batch: list[tuple[str, Blob]] = []
    size = 0
    missing = dict.fromkeys(where)
    for path, content in listing.container.files():
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
                f"{listing.path}: {printable(path)} {error}; copy or download the archive again, or unpack it and "
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
