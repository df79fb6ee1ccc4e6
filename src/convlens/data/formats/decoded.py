"""The pictures of a listing decoded ahead, into memory or the cache."""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from convlens.base.errors import InputError
from convlens.base.hardware import disk_free
from convlens.base.words import bytes_text
from convlens.data.formats.decoding import Outcome, Prepared, prepare_each
from convlens.data.formats.listing import Listing
from convlens.data.preprocess import Preprocess
from convlens.data.source import Progress
from convlens.data.store import cache


@dataclass(frozen=True, eq=False)
class Decoded:
    """The store of a listing's pictures at one size. Each call has an entry of its own, so several may read at once."""

    listing: Listing
    preprocess: Preprocess

    @cached_property
    def _key(self) -> str:
        return self.listing.key(self.preprocess)

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        return cache.Entry(self._key).folder

    def load(self) -> Prepared | None:
        """What the cache keeps; None if there is nothing, or it is damaged."""
        found = cache.Entry(self._key).load()
        if found is None:
            return None
        arrays, value = found
        try:
            outcome = Outcome.model_validate(value)
        except ValidationError:
            return None
        counts = {part: int(good.sum()) for part, good in self.listing.without(outcome.skipped).items()}
        if {part: len(array) for part, array in arrays.items()} != counts:
            return None
        return Prepared({**arrays}, outcome)

    def no_room(self) -> str | None:
        """Why the decoded pictures do not fit on the disk, if they do not."""
        picture = int(np.prod(self._shape(1)))
        sizes = (picture * len(items) for items in self.listing.parts.values())
        needed, free = sum(size for size in sizes if size >= cache.LARGE), disk_free(cache.cache_folder()) or 0
        if needed == 0 or needed + cache.RESERVE <= free:
            return None
        place = cache.cache_folder()
        return f"decoded ahead they take {bytes_text(needed)}, and {place} has {bytes_text(free)} free"

    def make(self, on_progress: Progress | None, worth_keeping: float) -> Prepared | str:
        """Decodes them; why not, if there is no room for them after all.

        worth_keeping: seconds of decoding from which the result is kept in the cache.
        """
        entry = cache.Entry(self._key)
        try:
            try:
                arrays = {
                    part: entry.empty(part, self._shape(len(items))) for part, items in self.listing.parts.items()
                }
            except InputError as error:  # a cache that is read-only, or fuller than it says
                return str(error)
            return self._fill(entry, arrays, on_progress, worth_keeping)
        finally:
            entry.discard()

    def _fill(
        self, entry: cache.Entry, arrays: dict[str, np.ndarray], on_progress: Progress | None, worth_keeping: float
    ) -> Prepared:
        started = time.monotonic()

        def fill(part: str, row: int, picture: np.ndarray) -> None:
            arrays[part][row] = picture

        outcome = prepare_each(self.listing, self.preprocess, fill, on_progress)
        good = self.listing.without(outcome.skipped)
        kept = {part: _moved_together(array, good[part]) for part, array in arrays.items()}
        notes = []
        if time.monotonic() - started >= worth_keeping:
            kept = entry.keep(kept, outcome.model_dump(mode="json"))
            if entry.failure:
                notes.append(f"the decoded pictures are not kept for the next time: {entry.failure}")
        return Prepared({**kept}, outcome, tuple(notes))

    def _shape(self, n: int) -> tuple[int, int, int, int]:
        return (n, *self.preprocess.size, self.preprocess.channels)


def _moved_together(array: np.ndarray, good: np.ndarray) -> np.ndarray:
    """The good rows, in place: the array may be a memory map that is larger than the memory."""
    kept = np.flatnonzero(good)
    for row in np.flatnonzero(kept != np.arange(len(kept))).tolist():
        array[row] = array[kept[row]]
    return array[: len(kept)]
