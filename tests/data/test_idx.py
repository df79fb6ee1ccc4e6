import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import idx_bytes, write_mnist

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.formats import idx

GRAY = Preprocess((28, 28), 1)


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)), compress=st.booleans())
@settings(deadline=None, max_examples=40)
def test_reading_inverts_writing_compressed_or_not(tmp_path_factory, array, compress):
    path = tmp_path_factory.mktemp("idx") / "file"
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if compress else content)
    np.testing.assert_array_equal(idx.read_idx(path), array)


@pytest.mark.parametrize("compress", [True, False])
def test_a_set_is_read_with_its_official_split(tmp_path, monkeypatch, compress):
    arrays = write_mnist(tmp_path / "mnist", compress=compress)
    monkeypatch.setenv("CONVLENS_DATA", str(tmp_path))
    source = data.find("mnist")
    assert source.native == (1, 28, 28)
    assert source.classes == tuple("0123456789")
    parts = source.read(GRAY).parts
    assert set(parts) == {"train", "test"}
    np.testing.assert_array_equal(parts["train"].pixels[..., 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(parts["test"].labels, arrays["t10k-labels-idx1-ubyte"])


def test_fashion_mnist_is_not_taken_for_mnist_and_vice_versa(tmp_path, no_data):
    write_mnist(tmp_path / "a" / "fashion-mnist")
    write_mnist(tmp_path / "b")
    from convlens.data.catalogue import SETS

    assert SETS["mnist"].locate(tmp_path / "a") is None
    assert SETS["mnist"].locate(tmp_path / "a" / "fashion-mnist") is None
    assert SETS["fashion-mnist"].locate(tmp_path / "a") == tmp_path / "a" / "fashion-mnist"
    assert SETS["fashion-mnist"].locate(tmp_path / "a" / "fashion-mnist") is not None
    assert SETS["mnist"].locate(tmp_path / "b") == tmp_path / "b"
    assert SETS["fashion-mnist"].locate(tmp_path / "b") is None
    assert data.find("fashion-mnist", root=tmp_path / "a").classes[9] == "Ankle boot"


def test_a_folder_of_idx_files_is_a_source_of_its_own(tmp_path):
    write_mnist(tmp_path / "own_digits")
    source = data.find(tmp_path / "own_digits")
    assert source.name == "own_digits"
    assert source.classes == tuple("0123456789")
    assert len(source.read(GRAY).parts["test"]) == 10


IMAGES = np.zeros((3, 4, 4), np.uint8)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (idx_bytes(IMAGES)[:-1], "truncated: its header announces 3 x 4 x 4 = 48 bytes, the file holds 47"),
        (idx_bytes(IMAGES) + b"\0", "damaged: its header announces 3 x 4 x 4 = 48 bytes, the file holds more"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"\0" * 100, "truncated: its header announces"),
        (idx_bytes(IMAGES)[:9], "truncated within its header"),
        (b"", "not an IDX file"),
        (b"<html>not found</html>", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01abcd", "values of type 0x0d"),
    ],
    ids=["cut", "too long", "huge lie", "cut header", "empty", "html", "floats"],
)
def test_a_file_that_lies_about_itself_is_named_in_one_line(tmp_path, content, said, compress):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(InputError, match=said) as caught:
        idx.read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_and_damaged_compression_is_named(tmp_path):
    path = tmp_path / "file.gz"
    content = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, (9, 28, 28))))
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match="truncated"):
        idx.read_idx(path)
    path.write_bytes(content[:500] + b"\xff" * 50 + content[550:])
    with pytest.raises(InputError, match=r"damaged|truncated"):
        idx.read_idx(path)


def test_a_file_that_unpacks_a_hundredfold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "RATIO_FLOOR", 10_000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((1000, 28, 28)))))
    with pytest.raises(InputError, match="refused, it unpacks to more than 100 times its size"):
        idx.read_idx(path)


def replaced(folder, name, array):
    write_mnist(folder)
    (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(np.asarray(array, np.uint8))))


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("train-labels-idx1-ubyte", np.zeros(29), "29 labels, but train-images-idx3-ubyte.gz has 30 images"),
        ("train-labels-idx1-ubyte", np.full(30, 10), "label 10 at position 0, but mnist has only 10 classes"),
        ("t10k-labels-idx1-ubyte", np.zeros((10, 28, 28)), "mixed up"),
        ("train-images-idx3-ubyte", np.zeros(30), "mixed up|not an IDX file of images"),
    ],
)
def test_a_wrong_label_file_is_named(tmp_path, no_data, name, array, said):
    replaced(tmp_path / "mnist", name, array)
    with pytest.raises(InputError, match=said) as caught:
        data.find("mnist", root=tmp_path).read(GRAY)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_four_is_named(tmp_path, no_data):
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte.*is missing"):
        data.find("mnist", root=tmp_path)


@pytest.mark.parametrize("prefix", ["train", "t10k"])
@pytest.mark.parametrize("before", ["", "letters-"])
def test_one_pair_alone_is_divided(tmp_path, prefix, before):
    write_mnist(tmp_path / "own", train=40, test=40)
    for path in [*(tmp_path / "own").iterdir()]:
        path.rename(path.with_name(before + path.name)) if path.name.startswith(prefix) else path.unlink()
    source = data.find(tmp_path / "own")
    parts = source.read(GRAY).parts
    assert list(parts) == ["train"]
    assert [len(part) for part in data.split(parts, seed=0)] == [20, 10, 10]  # 4 of each class: 2, 1 and 1
    assert len(source.notes) == (prefix == "t10k")


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_images_without_labels_and_the_other_way_round_are_refused(tmp_path, missing):
    write_mnist(tmp_path / "own")
    next((tmp_path / "own").glob(f"t10k-{missing}*")).unlink()
    with pytest.raises(InputError, match=f"t10k-{missing}-.* is missing; add it"):
        data.find(tmp_path / "own")


def test_two_sets_in_one_folder_are_refused(tmp_path):
    write_mnist(tmp_path / "own")
    for path in [*(tmp_path / "own").iterdir()]:
        path.with_name(f"letters-{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="files of 2 sets lie together"):
        data.find(tmp_path / "own")


@pytest.mark.parametrize("labels", [range(1, 11), (0, 1, 2, 3, 4, 5, 6, 7, 8, 200)])
def test_labels_that_do_not_occur_are_no_classes(tmp_path, labels):
    folder, values = tmp_path / "letters", np.array(labels)
    write_mnist(folder, compress=False)
    for name, n in (("train", 30), ("t10k", 10)):
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(values[np.arange(n) % 10]))
    source = data.find(folder)
    assert source.classes == tuple(map(str, labels))
    assert source.read(GRAY).parts["train"].labels.tolist() == [k % 10 for k in range(30)]
    assert "each value that occurs is a class" in source.notes[0]
    assert data.find(folder, classes=list("abcdefghij")).read(GRAY).parts["test"].classes == tuple("abcdefghij")
