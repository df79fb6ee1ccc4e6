"""The real sets, against the figures that are published or were counted independently."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.catalogue import SETS
from typed import present

PHOTOS = {  # class: (train, val, test), counted from the names in the archive's listing
    "banana": (45, 6, 44),
    "lemon": (42, 5, 41),
    "melon": (154, 20, 153),
    "orange": (57, 5, 56),
    "pear": (116, 5, 108),
    "tomato": (127, 8, 100),
}


def test_mnist_has_its_published_counts_mean_and_standard_deviation(real_data):
    source = data.find("mnist", root=real_data)
    preprocess = Preprocess((28, 28), 1)
    parts = source.read(preprocess).parts
    assert {part: len(images) for part, images in parts.items()} == {"train": 60000, "test": 10000}
    assert parts["train"].counts().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert parts["train"].labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    fitted = preprocess.fitted(parts["train"].pixels)
    assert fitted.mean[0] == pytest.approx(0.13066, abs=5e-6)
    assert fitted.std[0] == pytest.approx(0.30811, abs=5e-6)
    x = fitted.normalize(parts["train"].pixels[:2000])
    assert abs(x.mean()) < 0.05
    splits = data.split(parts, seed=0)
    assert [len(part) for part in splits] == [54001, 5999, 10000]
    assert splits.test is parts["test"]


def test_the_catalogues_hashes_are_those_of_the_real_mnist(real_data):
    for remote in SETS["mnist"].remotes:
        remote.verify(real_data / "mnist" / remote.name)


def test_photos_come_with_the_split_in_their_file_names(real_data):
    source = data.find(real_data / "photos.zip")
    assert source.name == "photos"
    assert source.classes == tuple(PHOTOS)
    assert source.native is None
    assert any("official split" in note for note in source.notes)
    reading = source.read(Preprocess((24, 24), 3))
    counts = {part: images.counts().tolist() for part, images in reading.parts.items()}
    assert counts == {part: [row[k] for row in PHOTOS.values()] for k, part in enumerate(("train", "val", "test"))}
    assert reading.skipped == ()


def test_the_test_part_of_the_jpeg_copy_decodes_as_pillow_decodes_it(real_data, tmp_path):
    """The first members are the test part; a small archive of some of them stands for all."""
    path = tmp_path / "some.tar"
    expected = {}
    with tarfile.open(real_data / "cifar10-jpeg.tar.gz", "r|gz") as archive, tarfile.open(path, "w") as some:
        for member in archive:
            if member.name.startswith("cifar10/train"):
                break
            if member.isfile() and member.name.endswith("00.jpg"):
                content = present(archive.extractfile(member)).read()
                some.addfile(member, io.BytesIO(content))
                expected[member.name] = np.asarray(Image.open(io.BytesIO(content)))
    with pytest.raises(InputError, match="no train/"):
        data.find(path)
    renamed = tmp_path / "classes.tar"
    with tarfile.open(path) as archive, tarfile.open(renamed, "w") as flat:
        for member in archive:
            content = present(archive.extractfile(member)).read()
            member.name = member.name.removeprefix("cifar10/test/")
            flat.addfile(member, io.BytesIO(content))
    source = data.find(renamed)
    assert source.native == (3, 32, 32)
    images = source.read(Preprocess((32, 32), 3)).parts["train"]
    assert images.counts().tolist() == [10] * 10
    np.testing.assert_array_equal(images.pixels, np.stack([expected[name] for name in sorted(expected)]))


@pytest.mark.slow
def test_all_of_the_jpeg_copy_has_its_published_statistics(real_data):
    source = data.find("cifar10-jpeg", root=real_data)
    assert source.name == "cifar10-jpeg"
    assert source.native == (3, 32, 32)
    assert "lossy" in source.notes[0]
    preprocess = Preprocess((32, 32), 3)
    parts = source.read(preprocess).parts
    assert parts["train"].counts().tolist() == [5000] * 10
    assert parts["test"].counts().tolist() == [1000] * 10
    fitted = preprocess.fitted(parts["train"].pixels)
    np.testing.assert_allclose(fitted.mean, (0.49125, 0.48209, 0.44652), atol=5e-6)
    np.testing.assert_allclose(fitted.std, (0.24523, 0.24278, 0.26063), atol=5e-6)
    again = data.find("cifar10-jpeg", root=real_data).read(preprocess)
    assert {part: images.fingerprint() for part, images in again.parts.items()} == {
        part: images.fingerprint() for part, images in parts.items()
    }


@pytest.mark.slow
def test_the_hash_of_the_jpeg_copys_images_is_that_of_the_real_archive(real_data):
    (remote,) = SETS["cifar10-jpeg"].remotes
    remote.verify(real_data / "cifar10-jpeg.tar.gz")
