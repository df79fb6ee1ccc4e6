"""A folder, zip or tar of image files as a source."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convlens.base.errors import InputError
from convlens.data.formats.containers import Container
from convlens.data.formats.decoded import Decoded
from convlens.data.formats.decoding import Prepared
from convlens.data.formats.listing import Listing
from convlens.data.formats.streamed import Streamed
from convlens.data.preprocess import Preprocess
from convlens.data.source import Progress, Reading, said_of_turned
from convlens.data.store import cache


@dataclass(frozen=True, eq=False)
class FolderSource:
    """See `Source`. stream: whether pictures are decoded each time they are needed rather than ahead."""

    listing: Listing
    stream: bool = False

    @classmethod
    def of(cls, container: Container | Path, name: str | None = None, **options: Any) -> "FolderSource":
        """Of a container or the path of one; the options are those of `Listing.of`."""
        return cls(Listing.of(container, name, **options))

    @property
    def name(self) -> str:
        return self.listing.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.listing.classes

    @property
    def native(self) -> tuple[int, int, int] | None:
        return self.listing.native

    @property
    def notes(self) -> tuple[str, ...]:
        return self.listing.notes

    def streamed(self) -> "FolderSource":
        """The same, its pictures decoded each time they are needed."""
        return replace(self, stream=True)

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> Reading:
        """See `Source.read`. A file that cannot be decoded is left out and named in `skipped`.

        The pictures are decoded ahead, or looked at once and decoded each time they are needed (`stream`, and where the
        decoded set would not fit on the disk): the same pixels, labels and fingerprints either way.

        Raises `InputError` if a class is left without images, or a tar would have to be decoded on the way.
        """
        decoded = Decoded(self.listing, preprocess)
        if self.stream:
            found: Prepared | str = "as asked"
        else:
            found = decoded.load() or decoded.no_room() or decoded.make(on_progress, cache.WORTH_SECONDS)
        if isinstance(found, str):
            found = Streamed(self.listing, preprocess, found).look(on_progress)
        return self._reading(found)

    def decode_ahead(self, preprocess: Preprocess, on_progress: Progress | None = None) -> tuple[Path, Reading]:
        """Decodes the set into the cache, unless it is there, however little time that saves: (its folder, the set).

        Raises `InputError` if the cache has no room for it or cannot be written.
        """
        decoded = Decoded(self.listing, preprocess)
        found = decoded.load()
        if found is None:
            if why := decoded.no_room():
                raise InputError(f"{self.listing.path}: {why}; choose another disk with $CONVLENS_CACHE")
            made = decoded.make(on_progress, worth_keeping=0)
            if isinstance(made, str):
                raise InputError(made)
            found = decoded.load()
            if found is None:
                self._reading(made)  # where a class has no picture, that is what to say
                why = next(iter(made.notes), "cannot be written")
                raise InputError(f"{decoded.folder}: {why}; choose another place with $CONVLENS_CACHE")
        return decoded.folder, self._reading(found)

    def _reading(self, found: Prepared) -> Reading:
        skipped, turned = found.outcome.skipped, found.outcome.turned
        parts = self.listing.images(found.pixels, skipped)
        notes = (*self.notes, *found.notes, *said_of_turned(turned))
        return Reading(parts, (*skipped, *self.listing.left_out), notes, turned)
