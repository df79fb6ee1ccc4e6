import io
import tarfile

import numpy as np
import pytest

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.formats import cifar

COLOR = Preprocess((32, 32), 3)
SMALL = {"train": 4, "test": 3}


@pytest.fixture(params=[cifar.CIFAR10, cifar.CIFAR100], ids=lambda release: release.name)
def release(request, monkeypatch):
    """A release with a handful of records per file instead of thousands."""
    monkeypatch.setitem(request.param.records, "train", SMALL["train"])
    monkeypatch.setitem(request.param.records, "test", SMALL["test"])
    return request.param


def contents(release, label=None) -> tuple[dict[str, bytes], dict[str, tuple[np.ndarray, list[int]]]]:
    """(files, (images [N, 32, 32, 3], labels) by part), written pixel by pixel as the format's description says."""
    rng = np.random.default_rng(3)
    files, expected = {}, {}
    for part, names in release.parts.items():
        images, labels = [], []
        for name in names:
            blob = bytearray()
            for _ in range(SMALL[part]):
                image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                number = int(rng.integers(len(release.classes))) if label is None else label
                blob += bytes([99] * (release.label_bytes - 1) + [number])
                for channel in range(3):
                    blob += image[:, :, channel].tobytes()
                images.append(image)
                labels.append(number)
            files[name] = bytes(blob)
        expected[part] = (np.stack(images), labels)
    return files, expected


def as_folder(root, release, files):
    folder = root / release.folder
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def as_archive(root, release, files):
    path = root / release.archive
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{release.folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("write", [as_folder, as_archive])
def test_the_binary_release_is_read_from_a_folder_or_an_archive(tmp_path, no_data, release, write):
    files, expected = contents(release)
    write(tmp_path, release, files)
    source = data.find(release.name, root=tmp_path)
    assert source.native == (3, 32, 32)
    parts = source.read(COLOR).parts
    for part, (images, labels) in expected.items():
        np.testing.assert_array_equal(parts[part].pixels, images)
        assert parts[part].labels.tolist() == labels
    assert parts["train"].classes == release.classes


def test_the_classes_are_those_of_the_release():
    assert len(set(cifar.CIFAR100.classes)) == 100
    assert list(cifar.CIFAR100.classes) == sorted(cifar.CIFAR100.classes)
    assert len(cifar.CIFAR10.classes) == 10


def test_a_cut_off_file_is_named(tmp_path, no_data, release):
    files, _ = contents(release)
    name = release.parts["test"][0]
    as_folder(tmp_path, release, {**files, name: files[name][:-1]})
    with pytest.raises(InputError, match=f"{name} has 9,2.. bytes instead of 9,2"):
        data.find(release.name, root=tmp_path).read(COLOR)


def test_a_missing_file_is_named(tmp_path, no_data, release):
    files, _ = contents(release)
    name = release.parts["train"][0]
    del files[name]
    as_folder(tmp_path, release, files)
    with pytest.raises(InputError, match=f"{name} is missing"):
        data.find(release.name, root=tmp_path).read(COLOR)


def test_a_label_that_is_no_class_is_named(tmp_path, no_data, release):
    files, _ = contents(release, label=len(release.classes))
    as_folder(tmp_path, release, files)
    with pytest.raises(InputError, match=f"label {len(release.classes)} in record 0"):
        data.find(release.name, root=tmp_path).read(COLOR)


def test_an_archive_that_is_cut_off_is_named(tmp_path, no_data, release):
    files, _ = contents(release)
    path = as_archive(tmp_path, release, files)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="damaged tar archive"):
        data.find(release.name, root=tmp_path).read(COLOR)
