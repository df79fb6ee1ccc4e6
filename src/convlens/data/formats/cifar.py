"""CIFAR-10 and CIFAR-100 in the binary release (A. Krizhevsky, Learning Multiple Layers of Features from Tiny
Images, 2009). The pickled release is not read: a pickle can run code."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convlens.base.errors import InputError
from convlens.data.formats.containers import Tar
from convlens.data.images import Images
from convlens.data.source import ArraySource

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Release:
    """A binary release: per record `label_bytes` bytes of labels, the last of which counts, then 32x32 R, G, B planes.

    folder, archive: the names that the official release gives them. parts: file names and number of records each.
    """

    name: str
    folder: str
    archive: str
    label_bytes: int
    parts: dict[str, tuple[str, ...]]
    records: dict[str, int]
    classes: tuple[str, ...]


CIFAR10 = Release(
    "cifar10",
    "cifar-10-batches-bin",
    "cifar-10-binary.tar.gz",
    1,
    {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)},
    {"train": 10000, "test": 10000},
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)

CIFAR100 = Release(
    "cifar100",
    "cifar-100-binary",
    "cifar-100-binary.tar.gz",
    2,  # the coarse label, then the fine one
    {"train": ("train.bin",), "test": ("test.bin",)},
    {"train": 50000, "test": 10000},
    tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
        lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
        pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
        shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
        telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905 - a hundred quoted words are no easier to read
    ),
)


def locate(release: Release, root: Path) -> Path | None:
    """The release's folder or archive in `root`, or None."""
    for folder in (root, root / release.name):
        if (folder / release.folder).is_dir():
            return folder / release.folder
        if (folder / release.archive).is_file():
            return folder / release.archive
    return None


def source(release: Release, path: Path) -> ArraySource:
    """The release at `path`, a folder or a tar archive (which is read member by member)."""
    return ArraySource(release.name, lambda: read(release, path), release.classes, (3, 32, 32))


def read(release: Release, path: Path) -> dict[str, Images]:
    """Training and test images: uint8 [N, 32, 32, 3].

    Raises `InputError` that names the file if one is missing, has another size than the release's, or holds a
    label that is no class.
    """
    wanted = [name for names in release.parts.values() for name in names]
    contents = _from_folder(path, wanted) if path.is_dir() else _from_tar(path, wanted)
    for name in wanted:
        if name not in contents:
            raise InputError(f"{path}: {name} is missing; {release.name} needs {', '.join(wanted)}")
    return {
        part: _decode(release, path, {name: contents[name] for name in names}, release.records[part])
        for part, names in release.parts.items()
    }


def _decode(release: Release, path: Path, contents: dict[str, bytes], records: int) -> Images:
    length = release.label_bytes + _PIXELS
    for name, content in contents.items():
        if len(content) != records * length:
            raise InputError(
                f"{path}: {name} has {len(content):,} bytes instead of {records * length:,} "
                f"({records:,} records of {length}); copy or download it again"
            )
    table = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, length) for content in contents.values()])
    labels = table[:, release.label_bytes - 1].astype(np.int64)
    if labels.max() >= len(release.classes):
        raise InputError(
            f"{path}: label {labels.max()} in record {int(labels.argmax())} of {', '.join(contents)}, "
            f"but {release.name} has {len(release.classes)} classes; copy or download it again"
        )
    planes = table[:, release.label_bytes :].reshape(-1, 3, 32, 32)
    return Images(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels, release.classes, release.name)


def _from_folder(path: Path, wanted: list[str]) -> dict[str, bytes]:
    contents = {}
    for name in wanted:
        if (path / name).is_file():
            try:
                contents[name] = (path / name).read_bytes()
            except OSError as error:
                raise InputError(f"{path / name}: cannot be read ({error.strerror or error})") from error
    return contents


def _from_tar(path: Path, wanted: list[str]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for member, content in Tar(path).members():
        name = member.rsplit("/", 1)[-1]
        if name in wanted:
            contents.setdefault(name, content())
    return contents
