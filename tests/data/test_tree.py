import pytest

from convlens.base.errors import InputError
from convlens.data.layout.tree import lay_out


def paths_of(layout, part="train"):
    return [path for path, _ in layout.parts[part]]


def test_class_folders_are_classes_in_natural_order():
    layout = lay_out(["10/b.png", "9/a.png", "2/c.png", "2/a.png"], "t")
    assert layout.classes == ("2", "9", "10")
    assert layout.parts == {"train": [("2/a.png", 0), ("2/c.png", 0), ("9/a.png", 1), ("10/b.png", 2)]}


@pytest.mark.parametrize("top", ["", "photos/", "data/photos/"])
@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "testing")])
def test_part_folders_are_parts_below_any_single_top_folder(top, names):
    layout = lay_out([f"{top}{part}/{c}/1.jpg" for part in names for c in "ab"], "t")
    assert layout.classes == ("a", "b")
    assert set(layout.parts) == {"train", "val", "test"}
    assert paths_of(layout, "val") == [f"{top}{names[1]}/a/1.jpg", f"{top}{names[1]}/b/1.jpg"]


def test_file_name_prefixes_are_the_split_if_every_file_has_one_and_it_is_said():
    paths = [f"p/{c}/{part}_{k}.jpg" for c in "ab" for part in ("train", "val", "test") for k in range(2)]
    layout = lay_out(paths, "t")
    assert {part: len(items) for part, items in layout.parts.items()} == {"train": 4, "val": 4, "test": 4}
    assert "official split" in layout.notes[0]
    mixed = lay_out([*paths, "p/a/other.jpg"], "t")
    assert set(mixed.parts) == {"train"}
    assert mixed.notes == []


def test_files_all_called_train_are_no_split():
    assert set(lay_out(["a/train_1.jpg", "b/train_1.jpg"], "t").parts) == {"train"}


@pytest.mark.parametrize("name", ["train", "Test", "VAL_set", "dev"])
def test_a_part_is_never_taken_for_a_class(name):
    with pytest.raises(InputError, match="named like a part of a data set"):
        lay_out(["bus/1.jpg", "car/1.jpg", f"{name}/1.jpg"], "t")


@pytest.mark.parametrize("top", ["", "set/", "set/set/"])
@pytest.mark.parametrize("test", ["test", "TEST", "test_set", "Testing", "eval"])
def test_a_part_without_class_folders_is_left_out_and_said(top, test):
    kept = [f"{top}train/{c}/{k}.jpg" for c in "ab" for k in range(3)]
    loose = [f"{top}{test}/{k}.jpg" for k in range(3)]
    layout = lay_out(kept + loose, "t")
    assert layout.classes == ("a", "b")
    assert paths_of(layout) == kept
    assert list(layout.parts) == ["train"]
    assert f"3 images in {test}/ have no class folder; left out" in layout.notes
    assert [path for path, _ in layout.left_out] == loose


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "valid", "Eval"), ("train_set", "dev", "test_set")])
def test_parts_may_lie_inside_the_classes(names):
    layout = lay_out([f"set/{c}/{part}/1.jpg" for c in "ab" for part in names], "t")
    assert layout.classes == ("a", "b")
    assert len(layout.parts) == len(names)
    assert all(len(items) == 2 for items in layout.parts.values())


@pytest.mark.parametrize("top", ["set/", "set/set/"])
def test_loose_pictures_do_not_hide_the_classes(top):
    layout = lay_out(["cover.jpg", f"{top}logo.png", f"{top}a/1.jpg", f"{top}b/1.jpg"], "t")
    assert layout.classes == ("a", "b")
    assert [path for path, _ in layout.left_out] == ["cover.jpg", f"{top}logo.png"]


def test_deeper_files_belong_to_their_class_folder():
    layout = lay_out(["cat/black/1.jpg", "cat/2.jpg", "dog/x/y/3.jpg"], "t")
    assert layout.classes == ("cat", "dog")
    assert paths_of(layout) == ["cat/2.jpg", "cat/black/1.jpg", "dog/x/y/3.jpg"]


def test_loose_files_are_left_out_with_a_note():
    layout = lay_out(["cover.jpg", "a/1.jpg", "b/1.jpg"], "t")
    assert layout.classes == ("a", "b")
    assert "1 image outside the class folders left out, such as cover.jpg" in layout.notes[0]


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "no images in it"),
        (["1.jpg", "2.jpg"], "2 images but no class folders"),
        (["cat/1.jpg", "cat/2.jpg"], r"only one class \('cat'\)"),
        (["train/cat/1.jpg", "test/cat/2.jpg"], r"only one class \('cat'\)"),
        (["val/a/1.jpg", "test/b/2.jpg"], "no train/"),
        (["train/a/1.jpg", "train/b/1.jpg", "extra/a/1.jpg"], "beside train/ there is extra/"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg", "test/c/1.jpg"],
            "class 'c' has images in test but none in train",
        ),
        (["IMG_1.jpg", "IMG_2.jpg", "DSC_3.jpg", "DSC_4.jpg"], "4 images but no class folders"),
        (["a/1.jpg", "b/1.jpg", "set/a/1.jpg", "set/b/2.jpg"], "set/ holds a/ and b/ again, with other images"),
        (["a/train/1.jpg", "a/test/2.jpg", "b/3.jpg"], "a/ has test/ and train/ inside, b/ has no parts"),
    ],
)
def test_trees_that_cannot_be_used_are_refused_in_one_line(paths, said):
    with pytest.raises(InputError, match=said) as caught:
        lay_out(paths, "my/folder")
    assert str(caught.value).startswith("my/folder: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["黒\u3000猫", "👩\u200d🔬", "می\u200cخواهم", "\U0001fae9", "é"])
def test_class_names_keep_their_characters(name):
    assert set(lay_out([f"{name}/1.jpg", "b/1.jpg"], "t").classes) == {name, "b"}


def test_two_forms_of_one_name_are_one_class():
    layout = lay_out(["é/1.jpg", "e\u0301/2.jpg", "b/1.jpg"], "t")
    assert layout.classes == ("b", "é")
    assert sorted(paths_of(layout)) == ["b/1.jpg", "e\u0301/2.jpg", "é/1.jpg"]


def test_a_part_may_lack_a_class_which_is_said():
    layout = lay_out(["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"], "t")
    assert layout.parts["test"] == [("test/a/1.jpg", 0)]
    assert layout.notes == ["test has no images of class 'b'"]


TRAIN_AND_TEST = {"train": 4, "test": 2}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/{c}/{k}.jpg", "test/{c}/{k}.jpg"),
        ("TRAIN/{c}/{k}.jpg", "Tests/{c}/{k}.jpg"),
        ("train_images/{c}/{k}.jpg", "test_images/{c}/{k}.jpg"),
        ("TrainSet/{c}/{k}.jpg", "TestSet/{c}/{k}.jpg"),
        ("train2017/{c}/{k}.jpg", "test2017/{c}/{k}.jpg"),
        ("训练集/{c}/{k}.jpg", "测试集/{c}/{k}.jpg"),
        ("train/train/{c}/{k}.jpg", "test/test/{c}/{k}.jpg"),
        ("train/images/{c}/{k}.jpg", "test/images/{c}/{k}.jpg"),
        ("{c}/train/{k}.jpg", "{c}/test/{k}.jpg"),
        ("{c}_train/{k}.jpg", "{c}_test/{k}.jpg"),
        ("pets_train/{c}/{k}.jpg", "pets_test/{c}/{k}.jpg"),
        ("{c}/train_{k}.jpg", "{c}/test_{k}.jpg"),
        ("train/{c}.{k}.jpg", "test/{c}.{k}.jpg"),
        ("train/{c}/{k}.jpg", "test/{C}/{k}.jpg"),
    ],
)
@pytest.mark.parametrize("top", ["", "set/", "a/b/"])
def test_parts_are_understood_in_all_their_forms(train, test, top):
    paths = [top + train.format(c=c, C=c.upper(), k=k) for c in ("cat", "dog") for k in range(2)]
    paths += [top + test.format(c=c, C=c.upper(), k=7) for c in ("cat", "dog")]
    layout = lay_out(paths, "t")
    assert layout.classes == ("cat", "dog")
    assert {part: len(items) for part, items in layout.parts.items()} == TRAIN_AND_TEST
    assert layout.left_out == []


@pytest.mark.parametrize("form", ["{c}.{k}.jpg", "{c}_{k:03}.jpg", "{c}-{k}.jpg", "{c} ({k}).jpg", "{k:03}_{c}.jpg"])
def test_flat_names_say_their_class_and_how_is_said(form):
    layout = lay_out([form.format(c=c, k=k) for c in ("cat", "great dane") for k in range(3)], "t")
    assert layout.classes == ("cat", "great dane")
    assert [label for _, label in layout.parts["train"]] == [0, 0, 0, 1, 1, 1]
    assert "the classes are read from the file names" in layout.notes[0]


def test_a_second_copy_of_the_set_inside_itself_is_left_out():
    once = [f"{c}/{k}.jpg" for c in "ab" for k in range(2)]
    layout = lay_out(once + [f"pets/{path}" for path in once], "pets")
    assert paths_of(layout) == once
    assert layout.notes == ["4 images in pets/, a copy of what lies beside it, left out"]


def test_a_folder_beside_the_parts_is_no_class():
    layout = lay_out(["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg", "extras/1.jpg"], "t")
    assert (layout.classes, [path for path, _ in layout.left_out]) == (("a", "b"), ["extras/1.jpg"])


def test_classes_that_are_named_are_classes_whatever_they_are_called():
    paths = ["bus/1.jpg", "car/1.jpg", "test/1.jpg", "junk/1.jpg"]
    layout = lay_out(paths, "t", ["test", "bus"])
    assert layout.classes == ("test", "bus")
    assert sorted(path for path, _ in layout.left_out) == ["car/1.jpg", "junk/1.jpg"]
    with pytest.raises(InputError, match="no training images of 'lorry'"):
        lay_out(paths, "t", ["test", "lorry"])


def test_numbered_class_folders_can_be_given_names():
    layout = lay_out(["0/1.jpg", "1/1.jpg", "2/1.jpg"], "t", ["cat", "dog", "cow"])
    assert layout.classes == ("cat", "dog", "cow")
    with pytest.raises(InputError, match="3 classes, but --classes gives 2 names"):
        lay_out(["0/1.jpg", "1/1.jpg", "2/1.jpg"], "t", ["cat", "dog"])


def test_names_are_the_same_where_the_system_says_that_it_writes_in_ascii():
    names = ["黒　猫", "café", "b"]
    plain = lay_out([f"{name}/1.png" for name in names], "set")
    read_in_ascii = lay_out([f"{name}/1.png".encode().decode("ascii", "surrogateescape") for name in names], "set")
    assert read_in_ascii.classes == plain.classes


def test_many_classes_are_laid_out_as_few_are():
    names = [f"c{k}" for k in range(20_000)]
    layout = lay_out([f"{name}/1.jpg" for name in names], "t", names)
    assert layout.classes == tuple(names)
