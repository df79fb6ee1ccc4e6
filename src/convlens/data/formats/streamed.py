"""The pictures of a listing decoded each time they are needed."""

from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from convlens.base.errors import InputError
from convlens.data.formats.decoding import Outcome, Prepared, prepare_each
from convlens.data.formats.listing import Listing
from convlens.data.preprocess import Preprocess
from convlens.data.source import Progress
from convlens.data.store import cache
from convlens.data.store.encoded import Decoder, EncodedRows, Examined
from convlens.data.store.rows import Pixels


@dataclass(frozen=True, eq=False)
class Streamed:
    """A listing's pictures as files. Each is decoded once before: names the damaged ones, gives fingerprint and mean.

    why: why they are not decoded ahead.
    """

    listing: Listing
    preprocess: Preprocess
    why: str

    def look(self, on_progress: Progress | None) -> Prepared:
        """Raises `InputError` where files cannot be had out of order, as in a tar."""
        try:
            decoder = Decoder(self.listing.container.reader(), self.preprocess, str(self.listing.path))
        except InputError as error:
            raise InputError(f"{error} (pictures are to be decoded when they are needed: {self.why})") from error
        seen, outcome = self._kept() or self._examine(on_progress)
        rows: dict[str, Pixels] = {}
        for part, good in self.listing.without(outcome.skipped).items():
            paths = np.array([path for path, _ in self.listing.parts[part]], object)
            rows[part] = EncodedRows(decoder, paths[good], seen[part].select(good))
        return Prepared(rows, outcome, (f"pictures are decoded when they are needed: {self.why}",))

    def _examine(self, on_progress: Progress | None) -> tuple[dict[str, Examined], Outcome]:
        seen = {
            part: Examined.empty(len(items), self.preprocess.channels) for part, items in self.listing.parts.items()
        }
        outcome = prepare_each(
            self.listing, self.preprocess, lambda part, *what: seen[part].fill(*what), on_progress
        )  # fmt: skip
        arrays = {f"{part}.{field}": array for part in seen for field, array in seen[part]._asdict().items()}
        cache.save_arrays("examined", self.listing.key(self.preprocess), arrays, outcome.model_dump(mode="json"))
        return seen, outcome

    def _kept(self) -> tuple[dict[str, Examined], Outcome] | None:
        """What the cache kept of each part; None if that is nothing, or of another set."""
        kept = cache.load_arrays("examined", self.listing.key(self.preprocess))
        if kept is None:
            return None
        arrays, value = kept
        seen = {
            part: Examined.kept(arrays, f"{part}.", len(items), self.preprocess.channels)
            for part, items in self.listing.parts.items()
        }
        try:
            outcome = Outcome.model_validate(value)
        except ValidationError:
            return None
        whole = {part: one for part, one in seen.items() if one is not None}
        return (whole, outcome) if len(whole) == len(seen) else None
