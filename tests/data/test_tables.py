"""Tables of labels, as people and programs write them."""

import pytest
from samples import as_tar, as_zip, encoded, picture

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess, find
from convlens.data.layout.tables import Places, read_table
from typed import present

SIZE = Preprocess((8, 8), 3)
FILES = {f"pics/{k}.png": k for k in range(8)}
LABEL = {f"pics/{k}.png": "cat" if k % 2 else "dog" for k in range(8)}


def table(form: str, heading: str = "", *, mark: str = ",", end: str = "\n") -> bytes:
    rows = [heading] if heading else []
    for path, label in LABEL.items():
        name = path.rpartition("/")[2]
        rows.append(form.format(path=path, name=name, id=name.removesuffix(".png"), label=label, n=int(label == "dog")))
    return (end.join(rows).replace("|", mark) + end).encode()


def read(place, **options):
    """{path: (part, class)} of what a source takes, and the reading."""
    reading = find(place, **options).read(SIZE)
    return {
        path: (part, images.classes[label])
        for part, images in reading.parts.items()
        for path, label in zip(present(images.paths), images.labels, strict=True)
    }, reading  # fmt: skip


WRITTEN = {
    "paths": table("{path}|{label}", "path|label"),
    "names": table("{name}|{label}", "filename|class"),
    "ids": table("{id}|{label}", "id|label"),
    "other order": table("{label}|{path}", "Label|File Path"),
    "semicolons": table("{path}|{label}", "image|category", mark=";"),
    "tabs": table("{path}|{label}", "file|target", mark="\t"),
    "byte order mark": b"\xef\xbb\xbf" + table("{name}|{label}", "Image_ID|Breed", end="\r\n"),
    "UTF-16": table("{name}|{label}", "file|label").decode().encode("utf-16"),
    "quoted": table('"{path}"|"{label}"', '"path"|"label"'),
    "from another machine": table("/kaggle/input/set/{path}|{label}", "path|label"),
    "backslashes": table(".\\pics\\{name}|{label}", "path|label"),
    "more columns": table("{n}|{path}|{label}|x", "class id|filepaths|labels|note"),
    "no headings": table("{path}|{label}"),
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("given", [True, False])
def test_a_table_beside_the_pictures_gives_the_classes(tree, content, given):
    root = tree({**FILES, "labels.csv": content})
    found, reading = read(root / "labels.csv" if given else root)
    assert found == {path: ("train", label) for path, label in LABEL.items()}
    assert reading.parts["train"].name == "pictures"
    assert reading.notes[0].startswith("labels.csv: ")
    assert reading.skipped == ()


def archived(kind: str, tmp_path, files):
    contents = {name: content if isinstance(content, bytes) else encoded(picture(content)) for name, content in
                files.items()}  # fmt: skip
    path = tmp_path / "pictures.archive"
    return as_zip(path, contents) if kind == "zip" else as_tar(path, contents, f"w:{kind[4:]}")


ARCHIVES = ["zip", "tar", "tar.gz", "tar.xz"]


@pytest.mark.parametrize("top", ["", "photos/2024/"])
@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_table_in_an_archive_gives_the_same_as_beside_the_pictures(tmp_path, kind, top, monkeypatch):
    monkeypatch.setattr("convlens.data.store.cache.WORTH_SECONDS", 0)  # the second look comes from the cache
    for content in WRITTEN.values():
        path = archived(kind, tmp_path, {f"{top}{name}": was for name, was in {"labels.csv": content, **FILES}.items()})
        for _ in range(2):
            found, reading = read(path)
            assert found == {f"{top}{path}": ("train", label) for path, label in LABEL.items()}
            assert reading.notes[0].startswith("labels.csv: ")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_table_in_an_archive_is_compared_with_its_folders(tmp_path, kind):
    same = "\n".join(["path,label", *(f"{path},{path[:3]}" for path in FOLDERS)]).encode()
    source = find(archived(kind, tmp_path, {**FOLDERS, "labels.csv": same}))
    assert source.classes == ("cat", "dog")
    assert "labels.csv: the same classes as the folders or names (8 rows)" in source.notes
    other = "\n".join(["path,label", *(f"{path},{'xy'[k // 4]}" for k, path in enumerate(FOLDERS))]).encode()
    with pytest.raises(InputError, match=r"say different things.*; to take the table unpack both and give the table"):
        find(archived(kind, tmp_path, {**FOLDERS, "labels.csv": other}))


@pytest.mark.parametrize("kind", ARCHIVES)
def test_tables_that_take_more_memory_than_allowed_are_passed_over(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("convlens.data.formats.archives.TABLES_LIMIT", 100)
    same = "\n".join(["path,label", *(f"{path},{path[:3]}" for path in FOLDERS)]).encode()
    assert not find(archived(kind, tmp_path, {**FOLDERS, "labels.csv": same})).notes


def test_columns_of_zeros_and_ones_and_label_numbers_are_read(tree):
    hot = ["image,cat,dog", *(f"{k},{k % 2}.0,{1 - k % 2}.0" for k in range(8))]
    found, _ = read(tree({**FILES, "labels.csv": "\n".join(hot).encode()}))
    assert found == {path: ("train", label) for path, label in LABEL.items()}
    numbers = ["id,label", *(f"{k},{k % 2}.0" for k in range(8))]
    root = tree({**FILES, "labels.csv": "\n".join(numbers).encode()})
    assert find(root).classes == ("0", "1")
    found, _ = read(root, classes=["dog", "cat"])
    assert found == {path: ("train", label) for path, label in LABEL.items()}


def test_a_column_of_parts_is_the_split(tree):
    rows = ["path,label,split", *(f"{path},{label},{'test' if k > 5 else 'TRAIN'}" for k, (path, label) in
                                  enumerate(LABEL.items()))]  # fmt: skip
    found, reading = read(tree({**FILES, "labels.csv": "\n".join(rows).encode()}))
    assert [part for part, _ in found.values()] == ["train"] * 6 + ["test"] * 2
    assert "parts by 'split'" in reading.notes[0]


def test_a_table_for_each_part_and_a_submission_to_be_filled_in(tree):
    files = {f"{part}/{k}.png": k for part in ("train", "test") for k in range(6)}
    rows = "\n".join(["id,label", *(f"{k},{'ab'[k % 2]}" for k in range(6))]).encode()
    root = tree({**files, "train.csv": rows, "sample_submission.csv": rows})
    found, reading = read(root)
    assert found == {f"train/{k}.png": ("train", "ab"[k % 2]) for k in range(6)}
    assert len(reading.skipped) == 6
    found, _ = read(tree({"test_labels.csv": rows}))
    assert len(found) == 12
    assert found["test/3.png"] == ("test", "b")


def test_what_is_missing_unlabeled_or_not_in_the_table_is_counted(tree):
    rows = table("{path}|{label}", "path|label") + b"pics/gone.png,cat\nother/3.png,dog\npics/8.png,\n"
    root = tree({**FILES, "pics/8.png": 8, "pics/9.png": 9, "labels.csv": rows})
    found, reading = read(root)
    assert set(found) == set(FILES)
    assert sorted(reading.skipped) == [
        ("other/3.png", "named in labels.csv, but not there"), ("pics/8.png", "no label in labels.csv"),
        ("pics/9.png", "not in labels.csv"), ("pics/gone.png", "named in labels.csv, but not there"),
    ]  # fmt: skip
    assert any("2 files are named in labels.csv but not there" in note for note in reading.notes)


@pytest.mark.parametrize(
    ("files", "rows", "said"),
    [
        (FILES, "path,label\npics/0.png,a\npics/0.png,b\npics/1.png,b", "has two labels, 'a' and 'b'"),
        (FILES, "path,label\nx.png,a\ny.png,b", "none of the 2 files that labels.csv names is there"),
        (FILES, "path,label", "headings but no rows"),
        (FILES, "a,b\n1,2", "no columns of paths and labels"),
        (FILES, "", "no columns of paths and labels"),
        (FILES, "path,label,category\npics/0.png,a,x\npics/1.png,b,x\npics/2.png,a,y", "both 'label' and 'category'"),
        ({"x/1.png": 1, "y/1.png": 2}, "id,label\n1,a", "could be x/1.png or y/1.png; write more of the path"),
        (FILES, "path,label\n" + "".join(f"pics/{k}.png,a\n" for k in range(8)), "only one class"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_in_one_line(tree, files, rows, said):
    root = tree({**files, "labels.csv": rows.encode()})
    with pytest.raises(InputError, match=said) as caught:
        find(root / "labels.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\xff\x00path", b"path,label\n\0,a\n", b'path,label\n"' + b"x" * 200_000, b"\xe9,a\n"]
)
def test_damaged_tables_are_one_line_where_given_and_no_tables_where_found(tree, content):
    root = tree({**{f"{c}/{k}.png": k for c in "ab" for k in range(2)}, "labels.csv": content})
    with pytest.raises(InputError) as caught:
        find(root / "labels.csv")
    assert "\n" not in str(caught.value)
    assert find(root).classes == ("a", "b")


FOLDERS = {f"{'cat' if k % 2 else 'dog'}/{k}.png": k for k in range(8)}


@pytest.mark.parametrize("label", [("dog", "cat"), ("0", "1")])
def test_a_table_that_says_what_the_folders_say_changes_nothing_and_is_named(tree, label):
    rows = ["path,label", *(f"{path},{label[k % 2]}" for k, path in enumerate(FOLDERS))]
    source = find(tree({**FOLDERS, "labels.csv": "\n".join(rows).encode()}))
    assert source.classes == ("cat", "dog")
    assert "labels.csv: the same classes as the folders or names (8 rows)" in source.notes


def test_a_table_that_contradicts_the_folders_is_refused_unless_it_is_given(tree):
    rows = ["path,label", *(f"{path},{'xy'[k // 4]}" for k, path in enumerate(FOLDERS))]
    root = tree({**FOLDERS, "labels.csv": "\n".join(rows).encode()})
    with pytest.raises(InputError, match="and the folders or names of the pictures say different things"):
        find(root)
    assert find(root / "labels.csv").classes == ("x", "y")


def test_two_tables_are_refused(tree):
    rows = table("{path}|{label}", "path|label")
    with pytest.raises(InputError, match="are all tables of labels; give the one that counts"):
        find(tree({**FILES, "a.csv": rows, "b.csv": rows}))


def test_other_tables_and_the_size_of_other_pictures_do_not_matter(tree):
    large = encoded(picture(0, (40, 40)))
    root = tree({**FOLDERS, "cover.png": large, "prices.csv": b"item,price\nx,3\n", "log.csv": b"epoch,loss\n1,2\n"})
    assert find(root).native == (3, 10, 12)


def test_pictures_of_a_table_are_judged_without_a_training_part(tree):
    rows = b"path,label\npics/1.png,cat\npics/3.png,cat\n"
    source = find(tree({**FILES, "test.csv": rows}) / "test.csv", judged_by=["cat", "dog"])
    assert {part: len(images) for part, images in source.read(SIZE).parts.items()} == {"test": 2}


def test_a_changed_table_is_not_answered_from_the_cache(tree, monkeypatch):
    monkeypatch.setattr("convlens.data.store.cache.WORTH_SECONDS", 0)
    root = tree({**FILES, "labels.csv": table("{path}|{label}", "path|label")})
    first, _ = read(root)
    rows = table("{path}|{label}", "path|label").replace(b"pics/0.png,dog", b"pics/0.png,cat")
    second, reading = read(tree({"labels.csv": rows}))
    assert {path for path in first if first[path] != second[path]} == {"pics/0.png"}
    pixels = reading.parts["train"]
    place = present(pixels.paths).tolist().index("pics/0.png")
    assert (pixels.pixels[place] == SIZE.prepare(picture(0))).all()


def test_places_are_found_by_as_much_of_the_path_as_is_written():
    places = Places(["set/train/1.png", "set/test/1.png", "set/test/2.png"])
    assert places.of("train/1.png") == ["set/train/1.png"]
    assert places.of("/far/away/train/1") == ["set/train/1.png"]
    assert places.of("1.png") == ["set/train/1.png", "set/test/1.png"]
    assert places.of("train/2.png") == []  # another picture is none
    assert places.of("2.jpg") == places.of("") == places.of("/") == []


def test_a_file_without_pictures_is_no_table(tmp_path):
    (tmp_path / "x.csv").write_text("alpha,beta\n1,2\n")
    assert read_table("x.csv", tmp_path / "x.csv", ["1.png"]) is None
    assert data.find("digits").classes == tuple("0123456789")


@pytest.mark.parametrize("row", ["x" * 300 + ".png,cat\n0.png," + "y" * 256, "x" * 5000 + ".png,cat"])
def test_a_cell_that_can_be_no_name_is_refused_by_its_line(tmp_path, row):
    (tmp_path / "x.csv").write_text(f"path,label\n{row}\n")
    with pytest.raises(InputError, match=r"x.csv, line [23]: a (path|label) of [\d,]+ characters; at most") as error:
        read_table("x.csv", tmp_path / "x.csv", [])
    assert len(str(error.value)) < 200
