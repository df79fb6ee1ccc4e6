"""Pictures decoded when they are needed: the same pixels, bits and messages as pictures decoded ahead."""

import shutil
import tarfile
import zipfile
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import TWO_CLASSES, encoded, picture, write_tree

from convlens import data
from convlens.base.arrays import pack
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.loader import Loader
from convlens.data.store import cache
from convlens.data.store.encoded import EncodedRows

SMALL = Preprocess((8, 8), 3)
PARTED: dict[str, int | bytes] = {
    f"{part}/{name}": seed for part in ("train", "test") for name, seed in TWO_CLASSES.items()
}
BAD = {"train/a/cut.png": encoded(picture())[:60], "test/b/empty.jpg": b"", "train/b/text.png": b"no image"}


@pytest.fixture(params=["folder", "zip"])
def pictures(request, tree, tmp_path):
    folder = tree({**PARTED, **BAD})
    if request.param == "folder":
        return folder
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path


def both(path, preprocess=SMALL):
    """The same set, decoded ahead and decoded when needed: (reading, parts) of each."""
    found = [data.find(path, stream=stream).read(preprocess) for stream in (False, True)]
    return [(reading, reading.parts) for reading in found]


def test_a_streamed_set_is_the_set(pictures):
    (ahead, expected), (streamed, parts) = both(pictures)
    assert parts.keys() == expected.keys()
    for part, images in parts.items():
        assert isinstance(images.pixels, EncodedRows)
        np.testing.assert_array_equal(images.pixels, expected[part].pixels)
        np.testing.assert_array_equal(images.labels, expected[part].labels)
        assert images.fingerprint() == expected[part].fingerprint()
        assert SMALL.fitted(images.pixels) == SMALL.fitted(expected[part].pixels)
    assert streamed.skipped == ahead.skipped
    assert {name for name, _ in streamed.skipped} == set(BAD)
    assert any("when they are needed" in note for note in streamed.notes)
    assert not any("when they are needed" in note for note in ahead.notes)


def test_splits_of_a_streamed_set_are_those_of_the_set_and_decode_nothing(pictures, monkeypatch):
    (_, expected), (_, parts) = both(pictures)
    monkeypatch.setattr(Preprocess, "prepare", lambda *_: pytest.fail("decoded"))
    for seed in range(3):
        ours = data.split({"train": parts["train"]}, seed=seed)
        theirs = data.split({"train": expected["train"]}, seed=seed)
        assert [part.fingerprint() for part in ours] == [part.fingerprint() for part in theirs]
        assert SMALL.fitted(ours.train.pixels) == SMALL.fitted(theirs.train.pixels)


def test_the_loader_gives_the_same_bits(pictures):
    (_, expected), (_, parts) = both(pictures)
    ahead, streamed = (Loader(which["train"], SMALL, batch_size=3, seed=4) for which in (expected, parts))
    assert ahead.resident
    assert not streamed.resident
    for epoch, start in ((0, 0), (2, 1)):
        pairs = list(zip(streamed.epoch(epoch, start), ahead.epoch(epoch, start), strict=True))
        assert pairs
        assert all(torch.equal(a, b) and torch.equal(p, q) for (a, p), (b, q) in pairs)


KEYS = st.one_of(
    st.integers(-8, 7),
    st.slices(8),
    st.lists(st.integers(-8, 7), max_size=10).map(lambda rows: np.array(rows, np.int64)),
    st.lists(st.booleans(), min_size=8, max_size=8).map(np.array),
    st.tuples(st.integers(0, 7), st.slices(8)),
    st.tuples(st.slices(8), st.just(slice(None)), st.integers(0, 7), st.integers(0, 2)),
    st.just((slice(None), ..., 1)),
    st.just(np.array([[0, 3], [5, 1]])),
)


@pytest.fixture(scope="module")
def rows_and_array(tmp_path_factory):
    folder = write_tree(tmp_path_factory.mktemp("rows"), TWO_CLASSES)
    rows = data.find(folder, stream=True).read(SMALL).parts["train"].pixels
    return rows, np.stack([SMALL.prepare(picture(seed)) for seed in TWO_CLASSES.values()])


@given(key=KEYS)
def test_rows_are_indexed_like_an_array(rows_and_array, key):
    rows, array = rows_and_array
    found, expected = rows[key], array[key]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_rows_iterate_and_tell_their_size_like_an_array(rows_and_array):
    rows, array = rows_and_array
    np.testing.assert_array_equal(np.stack(list(rows)), array)
    assert (rows.shape, rows.size, rows.nbytes, rows.ndim, len(rows)) == (array.shape, array.size, array.nbytes, 4, 8)
    with pytest.raises(IndexError):
        rows[8]


def test_what_was_learned_of_the_files_is_kept(pictures, monkeypatch):
    first = data.find(pictures, stream=True).read(SMALL)
    before = first.parts
    with monkeypatch.context() as patch:
        patch.setattr(Preprocess, "prepare", lambda *_: pytest.fail("decoded"))
        again = data.find(pictures, stream=True).read(SMALL)
        parts = again.parts
        assert again.skipped == first.skipped
        assert {p: i.fingerprint() for p, i in parts.items()} == {p: i.fingerprint() for p, i in before.items()}
    np.testing.assert_array_equal(parts["train"].pixels, before["train"].pixels)


def test_a_cache_that_is_lost_or_damaged_only_costs_time(pictures, own_cache):
    before = data.find(pictures, stream=True).read(SMALL).parts["train"].fingerprint()
    (kept,) = (own_cache / "examined").iterdir()
    other = [
        pack({}, {"skipped": []}),
        pack({"train.digests": np.zeros((2, 32), np.uint8)}, {}),
        pack({}, {"skipped": 5}),
    ]
    for damage in (
        lambda: kept.write_bytes(b"{}"),
        lambda: kept.write_bytes(kept.read_bytes()[:100]),
        *(lambda content=content: kept.write_bytes(content) for content in other),
        lambda: kept.write_bytes(kept.read_bytes().replace(b"sha256", b"sha25_")),
        kept.unlink,
    ):
        damage()
        assert data.find(pictures, stream=True).read(SMALL).parts["train"].fingerprint() == before


Usage = namedtuple("Usage", "total used free")


def test_a_set_that_does_not_fit_on_the_disk_decoded_is_streamed_and_says_so(pictures, own_cache, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", 100)
    monkeypatch.setattr(cache, "RESERVE", 0)
    expected = data.find(pictures).read(SMALL).parts
    shutil.rmtree(own_cache / "decoded", ignore_errors=True)
    needed = sum(images.pixels.nbytes for images in expected.values()) + 8 * 8 * 3 * len(BAD)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, needed))
    enough = data.find(pictures)
    assert not isinstance(enough.read(SMALL).parts["train"].pixels, EncodedRows)
    shutil.rmtree(own_cache / "decoded", ignore_errors=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, needed - 1))
    reading = data.find(pictures).read(SMALL)
    parts = reading.parts
    assert all(isinstance(images.pixels, EncodedRows) for images in parts.values())
    assert {p: i.fingerprint() for p, i in parts.items()} == {p: i.fingerprint() for p, i in expected.items()}
    assert any("free" in note and str(own_cache) in note for note in reading.notes)
    assert not (own_cache / "decoded").exists()


def test_a_tar_is_not_streamed(tree, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(tree(PARTED), ".")
    with pytest.raises(InputError, match=r"p\.tar: a tar has no index .* unpack it, .*\(.*as asked\)"):
        data.find(tmp_path / "p.tar", stream=True).read(SMALL)
    monkeypatch.setattr(cache, "LARGE", 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 0))
    with pytest.raises(InputError, match=r"p\.tar: a tar has no index .* B free") as raised:
        data.find(tmp_path / "p.tar").read(SMALL)
    assert "\n" not in str(raised.value)


def test_arrays_cannot_be_streamed():
    with pytest.raises(InputError, match="digits is held in memory"):
        data.find("digits", stream=True)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_file_that_breaks_during_training_is_named_with_what_to_do(tree, damage):
    folder = tree(PARTED)
    images = data.find(folder, stream=True).read(SMALL).parts["train"]
    broken = folder / "train" / "b" / "2.png"
    broken.unlink() if damage == "gone" else broken.write_bytes(broken.read_bytes()[:70])
    with pytest.raises(
        InputError, match=r"train/b/2\.png could be decoded .* no longer can \(.*\); .*--resume"
    ) as raised:
        list(Loader(images, SMALL, batch_size=2).epoch(0))
    assert "\n" not in str(raised.value)


def test_a_class_of_which_nothing_can_be_decoded_is_named(tree):
    source = data.find(tree({**TWO_CLASSES, "c/1.png": b"", "c/2.png": b"no"}), stream=True)
    with pytest.raises(InputError, match="none of the train images of class 'c' can be decoded"):
        source.read(SMALL)
