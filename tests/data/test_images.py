import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.base.errors import InputError
from convlens.data import Images
from convlens.data.images import as_uint8
from convlens.data.naming import natural, printable


def some(n=4, classes=("a", "b")) -> Images:
    pixels = np.arange(n * 6, dtype=np.uint8).reshape(n, 2, 3, 1)
    return Images(pixels, np.arange(n) % len(classes), tuple(classes), "some")


def test_images_know_their_length_shape_and_counts():
    images = some(5)
    assert len(images) == 5
    assert images.shape == (1, 2, 3)
    assert images.counts().tolist() == [3, 2]
    assert images.labels.dtype == np.int64


def test_select_takes_indices_masks_and_slices():
    images = some(4)
    for chosen in ([2, 0], np.array([True, False, True, False])[[2, 1, 0, 3]], slice(1, 3)):
        picked = images.select(chosen)
        np.testing.assert_array_equal(picked.pixels, images.pixels[chosen])
        np.testing.assert_array_equal(picked.labels, images.labels[chosen])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pixels": np.zeros((4, 2, 3, 1), np.float32)}, "uint8"),
        ({"pixels": np.zeros((4, 2, 3), np.uint8)}, r"\[N, H, W, C\]"),
        ({"pixels": np.zeros((4, 2, 3, 2), np.uint8)}, "C = 1 or 3"),
        ({"pixels": np.zeros((4, 0, 3, 1), np.uint8)}, r"\[4, 0, 3, 1\]"),
        ({"labels": np.zeros(4)}, "integer"),
        ({"labels": np.zeros((4, 1), int)}, "shape"),
        ({"labels": np.zeros(3, int)}, "4 images but 3 labels"),
        ({"labels": np.array([0, 1, 2, 0])}, "labels run from 0 to 2"),
        ({"labels": np.array([0, -1, 1, 0])}, "labels run from -1"),
        ({"classes": ("a", "a")}, "same name"),
    ],
)
def test_images_that_do_not_fit_together_are_refused_in_one_line(change, said):
    given_ = {"pixels": np.zeros((4, 2, 3, 1), np.uint8), "labels": np.zeros(4, int), "classes": ("a", "b")}
    with pytest.raises(InputError, match=said) as caught:
        Images(**{**given_, **change})
    assert "\n" not in str(caught.value)


def test_the_fingerprint_depends_on_pixels_labels_and_classes_but_not_on_the_name():
    images = some()
    base = images.fingerprint()
    assert Images(np.array(images.pixels), images.labels, images.classes, "other").fingerprint() == base
    changed = np.array(images.pixels)
    changed[3, 1, 2, 0] ^= 1
    others = [
        Images(changed, images.labels, images.classes),
        Images(images.pixels, 1 - images.labels, images.classes),
        Images(images.pixels, images.labels, ("a", "c")),
        Images(np.asarray(images.pixels).reshape(4, 3, 2, 1), images.labels, images.classes),
    ]
    assert len({base, *(other.fingerprint() for other in others)}) == 5


def test_the_fingerprint_of_a_memory_map_is_that_of_the_array(tmp_path):
    images = some(6)
    np.asarray(images.pixels).tofile(tmp_path / "pixels")
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=images.pixels.shape)
    assert Images(mapped, images.labels, images.classes).fingerprint() == images.fingerprint()


def test_arrays_without_a_channel_axis_are_gray():
    images = Images.from_arrays(np.zeros((3, 5, 4), np.uint8), [0, 1, 1])
    assert images.pixels.shape == (3, 5, 4, 1)
    assert images.classes == ("0", "1")


def test_floats_in_0_to_1_are_rounded_to_255_levels():
    pixels = np.array([[[0.0, 1.0, 0.5, 1 / 255]]], np.float32)
    images = Images.from_arrays(pixels, [0])
    assert np.asarray(images.pixels).ravel().tolist() == [0, 255, 128, 1]


@given(st.lists(st.integers(0, 255), min_size=1, max_size=20))
@settings(deadline=None, max_examples=30)
def test_every_8_bit_value_survives_the_way_through_floats(values):
    levels = np.array(values, np.uint8)
    np.testing.assert_array_equal(as_uint8(levels.astype(np.float32) / 255), levels)


def test_string_labels_become_classes_in_natural_order():
    images = Images.from_arrays(np.zeros((4, 2, 2), np.uint8), ["10", "2", "10", "1"])
    assert images.classes == ("1", "2", "10")
    assert images.labels.tolist() == [2, 1, 2, 0]


def test_labels_may_be_whole_floats_columns_bools_or_objects():
    pixels = np.zeros((3, 2, 2), np.uint8)
    assert Images.from_arrays(pixels, [0.0, 1.0, 1.0]).labels.tolist() == [0, 1, 1]
    assert Images.from_arrays(pixels, [[0], [1], [1]]).labels.tolist() == [0, 1, 1]
    assert Images.from_arrays(pixels, [False, True, True]).labels.tolist() == [0, 1, 1]
    assert Images.from_arrays(pixels, np.array(["x", "y", "y"], object)).classes == ("x", "y")


@pytest.mark.parametrize(
    ("pixels", "labels", "said"),
    [
        (np.zeros((2, 3, 32, 32), np.uint8), [0, 1], r"looks like \[N, C, H, W\].*transpose"),
        (np.full((2, 4, 4), 1.5), [0, 1], "floating-point pixels must lie in 0..1"),
        (np.full((2, 4, 4), np.nan), [0, 1], "floating-point pixels must lie in 0..1"),
        (np.full((2, 4, 4), 300), [0, 1], "integer pixels must lie in 0..255"),
        (np.full((2, 4, 4), "x"), [0, 1], "pixels must be numbers"),
        ([[[1]], [[1, 2]]], [0, 1], "array of pixels"),
        (np.zeros((2, 4, 4), np.uint8), [0.5, 1], "integer array"),
        (np.zeros((2, 4, 4), np.uint8), [np.inf, 1], "integer array"),
        (np.zeros((2, 4, 4), np.uint8), [0], "2 images but 1 labels"),
        (np.zeros((2, 4, 4), np.uint8), [0, -1], "labels run from -1"),
    ],
)
def test_arrays_that_cannot_be_understood_are_refused(pixels, labels, said):
    with pytest.raises(InputError, match=said):
        Images.from_arrays(pixels, labels)


def test_a_string_label_outside_the_given_classes_is_named():
    with pytest.raises(InputError, match="'cow'"):
        Images.from_arrays(np.zeros((2, 4, 4), np.uint8), ["cat", "cow"], classes=["cat", "dog"])


def test_natural_order_reads_digits_as_numbers():
    assert sorted(["10", "9", "2", "1"], key=natural) == ["1", "2", "9", "10"]
    assert sorted(["fold10", "Fold9", "fold1"], key=natural) == ["fold1", "Fold9", "fold10"]
    assert sorted(["b", "1", "a1", ""], key=natural) == ["", "1", "a1", "b"]


@given(st.lists(st.text(alphabet="aB019_", max_size=6), unique=True))
@settings(deadline=None, max_examples=100)
def test_natural_order_is_total(names):
    backwards = names[::-1]
    assert sorted(names, key=natural) == sorted(backwards, key=natural)


def test_names_that_cannot_be_shown_are_escaped():
    assert printable("a\nb") == "a\\nb"
    assert printable("caf\udce9") == "caf\\udce9"
    assert printable("猫") == "猫"
