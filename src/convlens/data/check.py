"""Looks at every picture of a source and says what a person should know before training on it."""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from convlens.base.errors import InputError
from convlens.data.decode import one_large_at_a_time, open_image, orientation, upright
from convlens.data.formats.containers import MemberError
from convlens.data.formats.folders import FolderSource
from convlens.data.layout.parts import PARTS
from convlens.data.naming import printable
from convlens.data.similar import SMALLEST, Sketch, similar, sketch
from convlens.data.source import ArraySource, Progress, Source
from convlens.data.splits import split
from convlens.data.suffixes import why_unreadable


@dataclass
class Findings:
    """What `check` found.

    counts: images by part and class. sizes: images by (W, H) as stored, modes: by Pillow mode.
    orientations: images that an EXIF tag turns or mirrors, by its value (2 to 8).
    problems: (path, reason) of files that cannot be decoded.
    duplicates: groups of two or more places that hold the same picture, byte for byte.
    leaks: those groups that lie in different parts. conflicts: those that lie in different classes.
    near_leaks, near_conflicts: pairs of pictures that look the same (see `similar`), in different parts or classes.
    reason: why training would refuse the set as it is; None if it would not.
    """

    name: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    sizes: Counter = field(default_factory=Counter)
    modes: Counter = field(default_factory=Counter)
    orientations: Counter = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    leaks: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    near_leaks: list[list[str]] = field(default_factory=list)
    near_conflicts: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reason: str | None = None

    @property
    def rotated(self) -> int:
        """How many images are turned or mirrored by their EXIF tag."""
        return self.orientations.total()


_Place = tuple[str, int, str]  # (part, label, path)


def check(source: Source, on_progress: Progress | None = None) -> Findings:
    """Decodes every picture once. Raises `InputError` only where the source as a whole cannot be read."""
    findings = Findings(source.name, source.classes, {}, notes=list(source.notes))
    walk = _files if isinstance(source, FolderSource) else _arrays
    places: dict[bytes, list[_Place]] = defaultdict(list)
    sketches: list[tuple[Sketch, bytes]] = []
    for digest, place, drawn in walk(source, findings, on_progress):  # type: ignore[arg-type]
        places[digest].append(place)
        if drawn is not None and len(places[digest]) == 1:
            sketches.append((drawn, digest))
        counts = findings.counts.setdefault(place[0], dict.fromkeys(source.classes, 0))
        counts[source.classes[place[1]]] += 1
    findings.counts = {part: findings.counts[part] for part in PARTS if part in findings.counts}
    for group in places.values():
        if len(group) > 1:
            paths = [path for _, _, path in group]
            findings.duplicates.append(paths)
            if len({part for part, _, _ in group}) > 1:
                findings.leaks.append(paths)
            if len({label for _, label, _ in group}) > 1:
                findings.conflicts.append(paths)
    firsts = [places[digest][0] for _, digest in sketches]
    kinds = {kind: k for k, kind in enumerate(dict.fromkeys((part, label) for part, label, _ in firsts))}
    for i, j in similar([drawn for drawn, _ in sketches], [kinds[part, label] for part, label, _ in firsts]):
        (part, label, path), (other_part, other_label, other) = firsts[i], firsts[j]
        if part != other_part:
            findings.near_leaks.append([path, other])
        if label != other_label:
            findings.near_conflicts.append([path, other])
    findings.reason = _why_refused(source, tuple(findings.problems))
    return findings


def _why_refused(source: Source, problems: tuple[tuple[str, str], ...]) -> str | None:
    """Asks what training asks: whether each class has a picture that can be decoded, and enough to be split."""
    try:
        if isinstance(source, FolderSource):
            left = source.listing.without(problems)
            blank = {
                part: np.broadcast_to(np.uint8(0), (int(np.count_nonzero(good)), 1, 1, 1))
                for part, good in left.items()
            }
            split(source.listing.images(blank, problems), seed=0)
        else:
            split(source.raw(), seed=0)  # type: ignore[attr-defined]
    except InputError as error:
        return str(error)
    return None


_Seen = tuple[bytes, _Place, Sketch | None]  # (digest, place, what it looks like)


def _files(source: FolderSource, findings: Findings, on_progress: Progress | None) -> Iterator[_Seen]:
    where = {path: (part, label) for part, items in source.listing.parts.items() for path, label in items}
    done = 0
    for path, content in source.listing.container.files():
        if path not in where:
            continue
        name = printable(path)
        if why := why_unreadable(path):
            findings.problems.append((name, why))
            continue
        try:
            blob = content()
            data = blob if isinstance(blob, bytes) else blob.read_bytes()
        except (MemberError, OSError) as error:
            findings.problems.append((name, str(error)))
            continue
        try:
            with open_image(io.BytesIO(data), name) as image:
                size, mode, tag = image.size, image.mode, orientation(image)
                with one_large_at_a_time(image):
                    drawn = sketch(upright(image, 3, name))
        except InputError as error:
            findings.problems.append((name, str(error).removeprefix(f"{name}: ")))
        else:
            if tag != 1:
                findings.orientations[tag] += 1
            findings.sizes[size] += 1
            findings.modes[mode] += 1
            yield hashlib.sha256(data).digest(), (*where[path], name), drawn
        done += 1
        if on_progress:
            on_progress(done, len(where))


def _arrays(source: ArraySource, findings: Findings, on_progress: Progress | None) -> Iterator[_Seen]:
    parts = source.raw()
    total = sum(map(len, parts.values()))
    done = 0
    for part, images in parts.items():
        channels, height, width = images.shape
        findings.sizes[width, height] += len(images)
        findings.modes["L" if channels == 1 else "RGB"] += len(images)
        large = min(height, width) >= SMALLEST
        for index, (picture, label) in enumerate(zip(images.pixels, images.labels.tolist(), strict=True)):
            seen = Image.fromarray(picture[..., 0] if channels == 1 else picture).convert("RGB") if large else None
            place = (part, label, f"{part}[{index}]")
            yield hashlib.sha256(picture.tobytes()).digest(), place, None if seen is None else sketch(seen)
            done += 1
            if on_progress and (done % 1024 == 0 or done == total):
                on_progress(done, total)
