"""Answers for many pictures in one file: complete, in order, the same bytes however often the work was stopped."""

import contextlib
import csv
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

import convlens as cl
from convlens.base.errors import InputError, InUseError
from convlens.base.files import FolderLock
from convlens.data import Preprocess
from convlens.deploy import many, sorting
from convlens.deploy.many import predict_into

CLASSES = ("dark", "bright", "neither")


def brightness(x: np.ndarray) -> np.ndarray:
    """Logits of a network without weights: by the mean of a picture."""
    mean = x.mean((1, 2, 3))
    return np.stack([1 - mean, mean, np.full_like(mean, -5)], 1).astype(np.float32)


def classifier(**changes) -> cl.Classifier:
    return cl.Classifier(brightness, Preprocess((4, 4), 1), CLASSES, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """600 pictures, 0.png to 599.png, brighter and brighter; the last is no picture."""
    where = tmp_path_factory.mktemp("pictures")
    for k in range(599):
        Image.new("L", (4, 4), k * 255 // 598).save(where / f"{k:03}.png")
    (where / "599.png").write_bytes(b"no picture")
    return where


def wanted(k: int) -> str:
    return "bright" if (k * 255 // 598) / 255 > 0.5 else "dark"


def read(file: Path) -> list[dict]:
    if file.suffix == ".csv":
        return list(csv.DictReader(file.read_text().splitlines()))
    if file.suffix == ".parquet":
        return parquet.read_table(file).to_pylist()
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_each_picture_has_one_row_in_order_and_the_broken_one_says_why(folder, tmp_path, ending):
    done = predict_into(classifier(), folder, tmp_path / f"answers{ending}", top=2)
    rows = read(done.out)
    assert (done.count, done.failed, done.kept) == (600, 1, 0)
    assert [row["path"] for row in rows] == [str(folder / f"{k:03}.png") for k in range(600)]
    assert [row["label"] for row in rows[:599]] == [wanted(k) for k in range(599)]
    assert "599.png" in rows[599]["error"]
    assert not rows[599].get("label")
    assert [path.name for path in tmp_path.iterdir()] == [done.out.name]


def test_probabilities_are_those_of_predict_to_the_last_bit(folder, tmp_path):
    rows = read(predict_into(classifier(), folder, tmp_path / "a.csv").out)
    direct = classifier().predict(sorted(folder.glob("*.png"))[:256], top=3)
    for row, one in zip(rows, direct, strict=False):
        assert np.float32(row["probability"]) == np.float32(one.probability)
        assert np.float32(row["probability_3"]) == np.float32(one.top[2][1])


@given(stops=st.lists(st.integers(1, 4), max_size=4))
@settings(max_examples=12, deadline=None)
def test_stopped_anywhere_and_called_again_the_file_is_the_same(folder, tmp_path_factory, stops):
    where = tmp_path_factory.mktemp("out")
    whole = predict_into(classifier(), folder, where / "whole.jsonl").out.read_bytes()
    for stop in stops:
        if not stopped(folder, where / "parts.jsonl", stop):
            break
        unfinished = where / "parts.jsonl.unfinished" / "answers.jsonl"
        with unfinished.open("ab") as file:
            file.write(b'{"path": "half a l')  # as a killed process leaves it
    if not (where / "parts.jsonl").exists():
        predict_into(classifier(), folder, where / "parts.jsonl", on_note=lambda _: None)
    assert (where / "parts.jsonl").read_bytes() == whole


def stopped(folder: Path, out: Path, batch: int) -> bool:
    """Whether the work was stopped, instead of writing its so-manieth batch, before it was done."""
    append, left = many._append, [batch]

    def stopping(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        append(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "_append", stopping)
        with contextlib.suppress(KeyboardInterrupt):
            predict_into(classifier(), folder, out, on_note=lambda _: None)
            return False
    return True


def test_work_that_was_begun_says_from_where_it_goes_on(folder, tmp_path):
    assert stopped(folder, tmp_path / "a.csv", 2)
    notes = []
    done = predict_into(classifier(), folder, tmp_path / "a.csv", on_note=notes.append)
    assert done.kept == 256
    assert notes == [f"{tmp_path / 'a.csv'}: goes on after 256 pictures"]


def test_another_network_or_other_pictures_do_not_go_on_with_what_was_begun(folder, tmp_path):
    pictures = shutil.copytree(folder, tmp_path / "pictures")
    assert stopped(pictures, tmp_path / "a.csv", 2)
    with pytest.raises(InputError, match="begun with another network"):
        predict_into(classifier(facts={"weights_sha256": "other"}), pictures, tmp_path / "a.csv")
    (pictures / "100.png").unlink()
    with pytest.raises(InputError, match="the pictures are not those"):
        predict_into(classifier(), pictures, tmp_path / "a.csv")


def test_what_somebody_wrote_into_the_unfinished_folder_is_refused_in_one_line(folder, tmp_path):
    assert stopped(folder, tmp_path / "a.csv", 2)
    file = tmp_path / "a.csv.unfinished" / "answers.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:5], b"[1, 2]\n", *lines[6:]]))
    with pytest.raises(InputError, match="is damaged"):
        predict_into(classifier(), folder, tmp_path / "a.csv")


def test_a_finished_file_and_one_that_another_process_writes_are_left_alone(folder, tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(InputError, match="exists: remove it"):
        predict_into(classifier(), folder, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"
    (tmp_path / "b.csv.unfinished").mkdir()
    with FolderLock(tmp_path / "b.csv.unfinished"), pytest.raises(InUseError, match="another process is writing it"):
        predict_into(classifier(), folder, tmp_path / "b.csv")
    with pytest.raises(InputError, match=r"\.csv, \.jsonl, \.parquet"):
        predict_into(classifier(), folder, tmp_path / "c.txt")


def test_arrays_without_a_path_have_rows_too(tmp_path):
    done = predict_into(classifier(), np.full((300, 4, 4, 1), 200, np.uint8), tmp_path / "a.jsonl")
    assert [row["path"] for row in read(done.out)] == [f"picture {k}" for k in range(300)]


def test_sorted_pictures_lie_under_their_class_and_none_is_lost_to_a_name_it_shares(tmp_path):
    names = ("a/x.png", "b/x.png", "c/x.png")
    for name, value in zip(names, (0, 30, 255), strict=True):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (4, 4), value).save(tmp_path / name)
    for _ in range(2):  # the second time all are there already
        sorter = sorting.Sorter(tmp_path / "sorted")
        rows = [many.as_row(cl_answer) for cl_answer in answers(tmp_path, names)]
        assert sorting.use(rows, sorter, 0) == []
        assert sorter.count == 3
        found = {path.relative_to(tmp_path / "sorted").as_posix(): path.read_bytes() for path in files(tmp_path)}
    assert found == {
        "dark/x.png": (tmp_path / "a/x.png").read_bytes(),
        "dark/x-2.png": (tmp_path / "b/x.png").read_bytes(),
        "bright/x.png": (tmp_path / "c/x.png").read_bytes(),
    }


def answers(where: Path, names) -> list:
    from convlens.deploy import predictions

    return list(predictions.stream(classifier(), [where / name for name in names]))


def files(where: Path) -> list[Path]:
    return [path for path in (where / "sorted").rglob("*") if path.is_file()]


def test_links_lead_to_the_pictures_and_members_of_an_archive_are_copied(folder, tmp_path):
    three = [f"{k:03}.png" for k in (0, 1, 598)]
    sorting.use(map(many.as_row, answers(folder, three)), sorting.Sorter(tmp_path / "sorted", link=True), 0)
    assert {os.readlink(path) for path in files(tmp_path)} == {str(folder / name) for name in three}
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for name in three:
            archive.write(folder / name, f"inside/{name}")
    rows = list(map(many.as_row, answers(tmp_path, ["some.zip"])))
    with pytest.raises(InputError, match="inside an archive"):
        sorting.use(rows, sorting.Sorter(tmp_path / "links", link=True), 0)
    shutil.rmtree(tmp_path / "sorted")
    sorting.use(rows, sorting.Sorter(tmp_path / "sorted"), 0)
    assert {path.name: path.read_bytes() for path in files(tmp_path)} == {
        name: (folder / name).read_bytes() for name in three
    }


@given(st.text(min_size=1))
def test_the_folder_of_a_class_is_one_folder_whatever_the_class_is_called(label):
    name = sorting.folder_name(label)
    assert name not in ("", ".", "..")
    assert (Path("/sorted") / name).parent == Path("/sorted")
    assert os.path.basename(name) == name


@given(st.lists(st.integers(0, 8).map(lambda k: k / 16), min_size=1, max_size=30), st.integers(1, 40))
def test_the_most_uncertain_are_those_with_the_smallest_lead(leads, n):
    rows = [
        {"path": str(k), "top": [{"label": "a", "probability": 0.5 + x}, {"label": "b", "probability": 0.5 - x}]}
        for k, x in enumerate(leads)
    ]
    found = sorting.use([*rows, {"path": "broken", "error": "why"}], None, n)
    assert [int(row["path"]) for row in found] == sorted(range(len(leads)), key=lambda k: (leads[k], k))[:n]
