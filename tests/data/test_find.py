import numpy as np
import pytest
from samples import TWO_CLASSES

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Images, Preprocess
from convlens.data.check import check
from convlens.data.layout.classes import names_of
from typed import untyped

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    official = untyped(load_digits())
    source = data.find("digits")
    assert (source.name, source.native, source.classes) == ("digits", (1, 8, 8), tuple("0123456789"))
    images = source.read(Preprocess((8, 8), 1)).parts["train"]
    assert len(images) == 1797
    np.testing.assert_array_equal(images.labels, official.target)
    np.testing.assert_array_equal(images.pixels[..., 0], np.floor(official.images * 255 / 16 + 0.5).astype(np.uint8))


def test_a_source_enlarges_with_the_very_function_that_prediction_uses():
    preprocess = Preprocess((28, 28), 1)
    small = data.find("digits").read(Preprocess((8, 8), 1)).parts["train"].pixels
    large = data.find("digits").read(preprocess).parts["train"].pixels
    for index in (0, 700, 1796):
        np.testing.assert_array_equal(large[index], preprocess.prepare(small[index]))


def test_arrays_pairs_images_and_mappings_are_sources():
    images = Images.from_arrays(PIXELS, LABELS, name="mine")
    preprocess = Preprocess((6, 5), 3)
    for given in (images, (PIXELS, LABELS), [PIXELS, LABELS], {"train": images}, {"train": (PIXELS, LABELS)}):
        source = data.find(given)
        assert source.native == (3, 6, 5)
        read = source.read(preprocess).parts
        assert set(read) == {"train"}
        assert read["train"].fingerprint() == images.fingerprint()
        assert read["train"].pixels is images.pixels or np.shares_memory(read["train"].pixels, PIXELS)
    both = data.find({"train": (PIXELS, LABELS), "test": (PIXELS[:3], LABELS[:3])}).read(Preprocess((4, 4), 1)).parts
    assert {part: images.pixels.shape for part, images in both.items()} == {
        "train": (12, 4, 4, 1),
        "test": (3, 4, 4, 1),
    }


def test_a_source_is_passed_through():
    source = data.find("digits")
    assert data.find(source) is source


def test_progress_counts_over_all_parts():
    seen = []
    source = data.find({"train": (PIXELS, LABELS), "test": (PIXELS[:3], LABELS[:3])})
    source.read(Preprocess((4, 4), 3), lambda *now: seen.append(now))
    assert seen[-1] == (15, 15)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mnits", "no data set 'mnits', did you mean 'mnist'"),
        ("no/such/folder", "no data set 'no/such/folder'"),
        (7, "not int"),
        ({"test": (PIXELS, LABELS)}, "no training part"),
        ({"train": 3}, "a part must be Images"),
        ({"train": (PIXELS, LABELS), "test": (PIXELS[:, :4], LABELS)}, "images of test are"),
        ({"train": (PIXELS, LABELS), "test": (PIXELS, LABELS + 1)}, "classes of test differ.*not in train: 3"),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(given, said):
    with pytest.raises(InputError, match=said) as caught:
        data.find(given)
    assert "\n" not in str(caught.value)


def test_a_root_that_is_no_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="the given root is no folder"):
        data.find("mnist", root=tmp_path / "none")
    monkeypatch.setenv("CONVLENS_DATA", str(tmp_path / "none"))
    with pytest.raises(InputError, match="CONVLENS_DATA is no folder"):
        data.find("mnist")


def test_names_lists_the_catalogue():
    assert data.names() == ["digits", "mnist", "fashion-mnist", "cifar10", "cifar10-jpeg", "cifar100"]


def test_a_check_finds_damage_duplicates_leaks_and_conflicts(tree):
    files: dict[str, int | bytes] = {
        f"{part}/{name}": seed + 100 * (part == "test")
        for part in ("train", "test")
        for name, seed in TWO_CLASSES.items()
    }
    files |= {"train/a/copy.png": 0, "test/a/leak.png": 1, "train/b/conflict.png": 2, "train/a/bad.png": b"x"}
    findings = check(data.find(tree(files)))
    assert findings.counts == {"train": {"a": 5, "b": 5}, "test": {"a": 5, "b": 4}}
    assert [path for path, _ in findings.problems] == ["train/a/bad.png"]
    assert sorted(map(sorted, findings.duplicates)) == [
        ["test/a/leak.png", "train/a/1.png"],
        ["train/a/0.png", "train/a/copy.png"],
        ["train/a/2.png", "train/b/conflict.png"],
    ]
    assert [sorted(group) for group in findings.leaks] == [["test/a/leak.png", "train/a/1.png"]]
    assert [sorted(group) for group in findings.conflicts] == [["train/a/2.png", "train/b/conflict.png"]]
    assert findings.sizes == {(12, 10): 19}
    assert findings.modes == {"RGB": 19}


def test_a_check_of_arrays_compares_pixels():
    findings = check(data.find({"train": (PIXELS, LABELS), "test": (PIXELS[:3], LABELS[:3])}))
    assert findings.leaks == [[f"train[{k}]", f"test[{k}]"] for k in range(3)]
    assert findings.sizes == {(5, 6): 15}


def test_classes_can_be_named_by_a_list_a_file_or_json(tmp_path):
    (tmp_path / "lines.txt").write_text("\ufeffzero\n\nune\u0301 \r\n", "utf-8")
    assert names_of(str(tmp_path / "lines.txt")) == ["zero", "un\u00e9"]
    (tmp_path / "names.json").write_text('["a, b", "c"]')
    assert names_of(tmp_path / "names.json") == names_of('["a, b", "c"]') == names_of(("a, b", "c")) == ["a, b", "c"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a"], "two names or more"), (["a", "a"], "'a' is named twice"), (["a", 3], "expected a file"),
        ('["a", ', "not valid JSON"), ("nowhere.txt", "nowhere.txt"), (7, "expected a file"), (["a", " "], "expected"),
    ],
)  # fmt: skip
def test_class_names_that_are_none_are_refused_in_one_line(given, said):
    with pytest.raises(InputError, match=said) as caught:
        names_of(given)
    assert "\n" not in str(caught.value)


def test_labels_of_arrays_and_named_sets_get_the_names_that_were_given():
    digits = [f"the digit {k}" for k in range(10)]
    source = data.find("digits", classes=digits)
    assert source.read(Preprocess((8, 8), 1)).parts["train"].classes == source.classes == tuple(digits)
    with pytest.raises(InputError, match="10 classes, but --classes gives 2 names"):
        data.find("digits", classes=["even", "odd"])
    named = data.find((PIXELS, LABELS), classes=["x", "y", "z"]).read(Preprocess((6, 5), 3)).parts["train"]
    assert (named.classes, named.labels.tolist()) == (("x", "y", "z"), LABELS.tolist())


def test_folders_that_are_named_are_the_classes_in_that_order(tree):
    path = tree({**TWO_CLASSES, "test/x.png": TWO_CLASSES["a/0.png"]})
    source = data.find(path, classes=["test", "a"])
    assert source.classes == ("test", "a")
    assert any("'b' left out" in note for note in source.notes)
