"""Where pictures come from: the protocol, and sources of arrays."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from convlens.base.errors import InputError
from convlens.data.images import Images
from convlens.data.preprocess import Preprocess

Progress = Callable[[int, int], None]
"""Called now and then with (images done, images in all)."""


class Source(Protocol):
    """A data set that can be read at any size.

    name: short, for messages and folder names.
    classes: names, in the order of the labels.
    native: (C, H, W) of its images, or None if they differ.
    skipped: after `read`, (path, reason) of each picture file that is not used.
    notes: what a person should know about this copy or this way of splitting, one line each.
    """

    name: str
    classes: tuple[str, ...]
    native: tuple[int, int, int] | None
    skipped: list[tuple[str, str]]
    notes: list[str]

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> dict[str, Images]:
        """The parts the source provides ("train" always; "val", "test"), prepared at `preprocess.size`."""
        ...


class ArraySource:
    """A source whose images are arrays of one size, loaded when first read."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Mapping[str, Images]],
        *,
        classes: tuple[str, ...],
        native: tuple[int, int, int] | None,
        notes: list[str] | None = None,
    ):
        self.name, self.classes = name, classes
        self.native: tuple[int, int, int] | None = native
        self.skipped: list[tuple[str, str]] = []
        self.notes = notes or []
        self._load = load

    @classmethod
    def of(cls, parts: Mapping[str, Images], notes: list[str] | None = None) -> "ArraySource":
        """Of images at hand. Raises `InputError` if there is no part "train" or the parts do not fit together."""
        from convlens.data.splits import check

        check(parts)
        train = parts["train"]
        return cls(train.name, lambda: parts, classes=train.classes, native=train.shape, notes=notes)

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> dict[str, Images]:
        """See `Source.read`."""
        parts = self._load()
        total = sum(map(len, parts.values()))
        prepared: dict[str, Images] = {}
        for part, images in parts.items():
            before = sum(map(len, prepared.values()))
            report = (lambda done, _, before=before: on_progress(before + done, total)) if on_progress else None
            pixels = preprocess.prepare_all(images.pixels, report)
            prepared[part] = Images(pixels, images.labels, images.classes, self.name, images.paths)
        return prepared

    def raw(self) -> Mapping[str, Images]:
        """The parts at their own size."""
        return self._load()


class Renamed:
    """A source under other names of its classes. Raises `InputError` unless they are as many."""

    def __init__(self, source: Source, classes: tuple[str, ...]):
        if len(classes) != len(source.classes):
            raise InputError(
                f"{source.name}: {len(source.classes)} classes, but --classes gives {len(classes)} names; give as many"
            )
        self.source, self.name, self.native = source, source.name, source.native
        self.classes, self.skipped, self.notes = classes, source.skipped, source.notes

    def read(self, preprocess: Preprocess, on_progress: Progress | None = None) -> dict[str, Images]:
        """See `Source.read`."""
        parts = self.source.read(preprocess, on_progress)
        self.skipped, self.notes = self.source.skipped, self.source.notes
        return self._renamed(parts)

    def raw(self) -> dict[str, Images]:
        """The parts at their own size, of a source that has `raw`."""
        return self._renamed(self.source.raw())  # type: ignore[attr-defined]

    def _renamed(self, parts: Mapping[str, Images]) -> dict[str, Images]:
        return {part: replace(images, classes=self.classes) for part, images in parts.items()}
