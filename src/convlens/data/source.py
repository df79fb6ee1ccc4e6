"""Where pictures come from: the protocol, what reading gives, and sources of arrays. Nothing here changes once made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from convlens.base.errors import InputError
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess
from convlens.data.splits import check

Progress = Callable[[int, int], None]
"""Called now and then with (images done, images in all)."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What a read of a source gave.

    parts: "train" always, except of pictures that are only to be judged; "val", "test" where the source has them.
    skipped: (path, reason) of each picture file that is not used.
    notes: what a person should know of the source and of this read, one line each.
    turned: how many of the pictures an EXIF tag turned or mirrored.
    """

    parts: dict[str, Images]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    turned: int = 0


def said_of_turned(count: int) -> tuple[str, ...]:
    """The note on pictures that an EXIF tag turned or mirrored, if there are any."""
    pictures = "1 picture is" if count == 1 else f"{count:,} pictures are"
    return (f"{pictures} turned as the EXIF tag says",) if count else ()


class Source(Protocol):
    """A data set that can be read at any size, by several threads at once.

    name: short, for messages and folder names.
    classes: names, in the order of the labels.
    native: (C, H, W) of its images, or None if they differ.
    notes: what a person should know about this copy or this way of splitting, one line each.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def native(self) -> tuple[int, int, int] | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> Reading:
        """The parts that the source provides, prepared at `preprocess.size`."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """See `Source`. load: gives the parts at their own size, when they are first needed."""

    name: str
    load: Callable[[], Mapping[str, Images]]
    classes: tuple[str, ...]
    native: tuple[int, int, int] | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, parts: Mapping[str, Images], notes: tuple[str, ...] = ()) -> "ArraySource":
        """Of images at hand. Raises `InputError` if there is no part "train" or the parts do not fit together."""
        check(parts)
        train = parts["train"]
        return cls(train.name, lambda: parts, train.classes, train.shape, notes)

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> Reading:
        """See `Source.read`."""
        parts = self.load()
        total = sum(map(len, parts.values()))
        prepared: dict[str, Images] = {}
        for part, images in parts.items():
            before = sum(map(len, prepared.values()))
            report = (lambda done, _, before=before: on_progress(before + done, total)) if on_progress else None
            pixels = preprocess.prepare_all(images.pixels, report)
            prepared[part] = Images(pixels, images.labels, images.classes, self.name, images.paths)
        return Reading(prepared, notes=self.notes)

    def raw(self) -> Mapping[str, Images]:
        """The parts at their own size."""
        return self.load()


@dataclass(frozen=True, eq=False)
class Renamed:
    """A source under other names of its classes. Raises `InputError` unless they are as many."""

    source: Source
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        own = self.source.classes
        if len(self.classes) != len(own):
            raise InputError(
                f"{self.name}: {len(own)} classes, but --classes gives {len(self.classes)} names; give as many"
            )

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def native(self) -> tuple[int, int, int] | None:
        return self.source.native

    @property
    def notes(self) -> tuple[str, ...]:
        return self.source.notes

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> Reading:
        """See `Source.read`."""
        reading = self.source.read(preprocess, on_progress)
        return replace(reading, parts=self._renamed(reading.parts))

    def raw(self) -> dict[str, Images]:
        """The parts at their own size, of a source that has `raw`."""
        return self._renamed(self.source.raw())  # type: ignore[attr-defined]

    def _renamed(self, parts: Mapping[str, Images]) -> dict[str, Images]:
        return {part: replace(images, classes=self.classes) for part, images in parts.items()}
