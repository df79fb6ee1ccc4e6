"""Labels as people have them: every type that says one class per picture is taken, everything else is explained."""

import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Images
from convlens.data.source import ArraySource

PIXELS = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)


def raw(given_) -> Mapping[str, Images]:
    """The parts of arrays that were handed over, as they are."""
    source = data.find(given_)
    assert isinstance(source, ArraySource)
    return source.raw()


def named(labels, classes=None) -> list[str]:
    """The class name of each picture."""
    images = Images.from_arrays(PIXELS[: len(list(labels))], labels, classes)
    return [images.classes[label] for label in images.labels]


@pytest.mark.parametrize("kind", [*"bBhHiIlLqQ", "?", "f", "d", "e", "O", "U4", "S4"])
def test_labels_of_every_type_name_their_classes_by_value(kind):
    assert named(np.array([0, 1, 1, 0], int).astype(kind)) == ["0", "1", "1", "0"]


@pytest.mark.parametrize(
    "labels",
    [
        [3, 7, 7, 3],
        (3, 7, 7, 3),
        torch.tensor([3, 7, 7, 3]),
        torch.tensor([3.0, 7.0, 7.0, 3.0], requires_grad=True),
        torch.tensor([3, 7, 7, 3], dtype=torch.uint8),
        torch.tensor([3.0, 7.0, 7.0, 3.0], dtype=torch.bfloat16),
        [torch.tensor(3), torch.tensor(7), torch.tensor(7), torch.tensor(3)],
        [np.uint8(3), 7, np.int64(7), 3],
        np.array([3, 7, 7, 3], object),
        [[3], [7], [7], [3]],
        ["3", "7", "7", "3"],
        [b"3", b"7", b"7", b"3"],
    ],
)
def test_containers_of_labels_are_all_alike(labels):
    assert named(labels) == ["3", "7", "7", "3"]


def test_iterators_of_labels_are_taken():
    assert Images.from_arrays(PIXELS, (k % 2 for k in range(4))).labels.tolist() == [0, 1, 0, 1]
    assert Images.from_arrays(PIXELS, range(1, 5)).classes == ("1", "2", "3", "4")


@given(st.lists(st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 5)), min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_whatever_the_numbers_are_each_picture_keeps_its_own(labels):
    images = Images.from_arrays(np.zeros((len(labels), 2, 2), np.uint8), labels)
    assert [images.classes[k] for k in images.labels] == [str(label) for label in labels]
    assert len(images.classes) == len(set(labels))


@pytest.mark.parametrize("labels", [[0, 10**9], [10**18, 5], [2**63, 0], [2**70, 1]])
def test_a_huge_label_costs_no_memory(labels):
    tracemalloc.start()
    images = Images.from_arrays(PIXELS[:2], labels)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert sorted(images.classes) == sorted(map(str, labels))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, bool])
def test_one_hot_rows_name_their_column(kind):
    rows = np.eye(3)[[2, 0, 0, 2]].astype(kind)
    images = Images.from_arrays(PIXELS, rows)
    assert images.classes == ("0", "1", "2")
    assert images.labels.tolist() == [2, 0, 0, 2]


def test_given_names_belong_to_positions():
    assert named([1, 0, 0, 1], ["cat", "dog"]) == ["dog", "cat", "cat", "dog"]
    with pytest.raises(InputError, match="count from 1, subtract 1"):
        named([1, 2, 2, 1], ["cat", "dog"])


def test_both_spellings_of_a_letter_are_one_class():
    assert set(named(["caf\u00e9", "cafe\u0301", "x", "x"])) == {"caf\u00e9", "x"}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, np.nan, 1], "picture 2 is nan"),
        ([0, 1, 0.5, 1], "picture 2 is 0.5"),
        ([0, 1, np.inf, 1], "picture 2 is inf"),
        ([0.0, 1e300, 0, 1], "picture 1 is 1e"),
        ([0, -1, 2, 1], "picture 1 is negative"),
        (["a", None, "b", "b"], "picture 1 has no label"),
        (["a", np.nan, "b", "b"], "NaN"),
        (["a", 1, "b", "b"], "strings and some are numbers"),
        ([0, 1], "4 images but 2 labels"),
        ([0, 1j, 1, 1], "complex"),
        ([[0, 1], [1, 1], [1, 0], [1, 0]], "picture 1 is not"),
        ([[0.3, 0.7]] * 4, "one-hot rows"),
        (np.zeros((4, 2, 2)), r"shape \[N\]"),
        ([[0], [1, 2], [0], [1]], "cannot be read as an array"),
        (3, r"shape \[N\]"),
        ({"a": 1}, r"shape \[N\]"),
        (np.ma.masked_equal([0, 1, 2, 1], 2), "masked"),
        (np.array(["2020-01-01"] * 4, "datetime64[D]"), "integers or strings"),
    ],
)
def test_labels_that_say_no_class_are_explained_in_one_line(labels, said):
    with pytest.raises(InputError, match=said) as refused:
        Images.from_arrays(PIXELS, labels)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("labels", [[1, 2, 1, 2], [0, 5, 5, 0], [-1, 1, 1, -1], np.eye(3)[[0, 1, 1, 0]]])
def test_what_was_made_of_unusual_labels_is_noted(labels):
    assert len(data.find((PIXELS, labels)).notes) == 1


def test_usual_labels_need_no_note():
    for labels in ([0, 1, 1, 0], ["a", "b", "b", "a"], [True, False, True, False]):
        assert data.find((PIXELS, labels)).notes == ()


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([1, 5, 5, 1], [5, 5, 5, 5], ["5"] * 4),
        (["a", "b", "a", "b"], ["b", "b", "b", "a"], ["b", "b", "b", "a"]),
        (np.array([0, 1, 2, 1], np.uint8), [1.0, 1.0, 0.0, 0.0], ["1", "1", "0", "0"]),
        (np.eye(3)[[0, 1, 2, 0]], [2, 2, 0, 1], ["2", "2", "0", "1"]),
        ([0, 1, 1, 0], ["1", "1", "0", "0"], ["1", "1", "0", "0"]),
    ],
)
def test_parts_share_the_classes_of_train_by_value(train, test, expected):
    for given_ in (
        {"train": (PIXELS, train), "test": (PIXELS, test)},
        ((PIXELS, train), (PIXELS, test)),
        [[PIXELS, train], [PIXELS, test]],
        {"Training": (PIXELS, train), "test_set": (PIXELS, test)},
    ):
        parts = raw(given_)
        assert parts["test"].classes == parts["train"].classes
        assert [parts["test"].classes[k] for k in parts["test"].labels] == expected


def test_three_pairs_are_train_val_and_test_and_it_is_said():
    three = ((PIXELS, [0, 1, 0, 1]),) * 3
    source = data.find(three)
    assert set(raw(three)) == {"train", "val", "test"}
    assert "train, val, test" in source.notes[0]


def test_two_pictures_with_their_labels_are_a_pair_and_no_two_parts():
    assert len(raw(([PIXELS[0], PIXELS[1]], [0, 1]))["train"]) == 2


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ((PIXELS, PIXELS, [0, 1, 0, 1], [0, 1, 0, 1]), "give them by part"),
        ((PIXELS,), "a pair"),
        ([], "a pair"),
        ({}, "no parts"),
        ({"train": (PIXELS, [0, 1, 1, 0]), "training": (PIXELS, [0, 1, 1, 0])}, "each part once"),
        ({"train": (PIXELS, [0, 1, 1, 0]), "test": (PIXELS, [0, 1, 2, 3])}, "not in train: 2, 3"),
        ({"train": (PIXELS, ["a", "b", "a", "b"]), "test": (PIXELS, [0, 1, 0, 1])}, "not in train"),
    ],
)
def test_other_ways_to_hand_over_arrays_are_explained_in_one_line(given_, said):
    with pytest.raises(InputError, match=said) as refused:
        data.find(given_)
    assert "\n" not in str(refused.value)
