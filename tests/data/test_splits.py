import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.base.errors import InputError
from convlens.data import Images, split


def numbered(counts: list[int], name="some") -> Images:
    """Images whose pixels spell their index, in a shuffled order of classes."""
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(0).shuffle(labels)
    pixels = np.arange(len(labels), dtype="<u4").view(np.uint8).reshape(-1, 2, 2, 1).copy()
    return Images(pixels, labels, tuple(f"c{k}" for k in range(len(counts))), name)


def indices(images: Images) -> list[int]:
    return np.asarray(images.pixels).reshape(-1, 4).copy().view("<u4").ravel().tolist()


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    val=st.floats(0.01, 0.5),
    test=st.floats(0.01, 0.5),
    seed=st.integers(0, 10**9),
)
@settings(deadline=None, max_examples=60)
def test_parts_are_disjoint_cover_everything_and_are_stratified_to_within_one(counts, val, test, seed):
    whole = numbered(counts)
    parts = split({"train": whole}, seed=seed, val_fraction=val, test_fraction=test)
    found = [indices(part) for part in parts]
    assert sorted(index for part in found for index in part) == list(range(len(whole)))
    assert all(part == sorted(part) for part in found), "the source's order is kept"
    left = np.array(counts)
    for part, fraction in ((parts.test, test), (parts.val, val)):
        cut = part.counts()
        assert (cut >= 1).all()
        assert (np.abs(cut - left * fraction) <= 1).all()
        left = left - cut
    assert (parts.train.counts() == left).all()
    assert (left >= 1).all()


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    whole = {"train": numbered([50, 50])}
    assert [indices(p) for p in split(whole, seed=1)] == [indices(p) for p in split(whole, seed=1)]
    assert indices(split(whole, seed=1).test) != indices(split(whole, seed=2).test)


def test_the_test_part_does_not_depend_on_the_validation_fraction():
    whole = {"train": numbered([50, 50])}
    one, other = split(whole, seed=1, val_fraction=0.1), split(whole, seed=1, val_fraction=0.3)
    assert indices(one.test) == indices(other.test)


def test_official_parts_stay_as_they_are():
    train, val, test = numbered([10, 10]), numbered([3, 4]), numbered([5, 1])
    parts = split({"train": train, "val": val, "test": test}, seed=0)
    assert parts.train is train
    assert parts.val is val
    assert parts.test is test
    only_val = split({"train": train, "val": val}, seed=0)
    assert only_val.val is val
    assert only_val.test.counts().tolist() == [2, 2]


def test_a_fraction_of_zero_leaves_the_part_empty():
    parts = split({"train": numbered([5, 5])}, seed=0, val_fraction=0, test_fraction=0)
    assert [len(part) for part in parts] == [10, 0, 0]


def test_a_class_with_one_image_cannot_be_split_and_is_named():
    with pytest.raises(InputError, match="class 'c1' has only 1 image, but 3 are needed"):
        split({"train": numbered([5, 1])}, seed=0)
    with pytest.raises(InputError, match="class 'c1' has only 1 image, but 2 are needed"):
        split({"train": numbered([5, 1]), "test": numbered([1, 1])}, seed=0)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"test": numbered([2, 2])}, "no training part"),
        ({"train": numbered([3, 3]), "extra": numbered([3, 3])}, "unknown part 'extra'"),
        ({"train": numbered([3, 3]), "test": numbered([3, 3, 3])}, "classes of test differ.*not in train: c2"),
        ({"train": numbered([0, 0])}, "no images to train on"),
        ({"train": numbered([9, 0])}, r"only one class \(c0\)"),
    ],
)
def test_parts_that_cannot_be_used_are_refused(parts, said):
    with pytest.raises(InputError, match=said):
        split(parts, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fractions_outside_0_to_1_are_refused(fraction):
    with pytest.raises(InputError, match="fraction"):
        split({"train": numbered([9, 9])}, seed=0, test_fraction=fraction)
