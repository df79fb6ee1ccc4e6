"""What `predict` takes: every usual way to hand over pictures gives the same answers, every other is explained."""

import contextlib
import io
import os
import zipfile
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.base.errors import InputError
from convlens.data import Images, Preprocess
from convlens.deploy.inputs import Item, pictures
from typed import present

SIZE = (14, 11)
GRAY = np.random.default_rng(0).integers(0, 256, (6, *SIZE), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (6, *SIZE, 3), dtype=np.uint8)


def prepared(given_, channels: int = 1) -> list[np.ndarray]:
    said: list[str] = []
    _, items = pictures(given_, channels, said.append)
    return [Preprocess(SIZE, channels).prepare(item.picture, item.name) for item in items]


def read(item: Item) -> np.ndarray:
    if isinstance(item.picture, InputError):
        raise item.picture
    return Preprocess(SIZE, 1).prepare(item.picture, item.name)


def several(given_, channels: int = 1) -> bool:
    return pictures(given_, channels, lambda note: None)[0]


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


ONE = {
    "array": lambda x, to: x,
    "array with an axis for gray": lambda x, to: x[..., None],
    "channels first": lambda x, to: x[None],
    "other types of integer": lambda x, to: x.astype(np.int64),
    "floats": lambda x, to: x / 255,
    "tensor": lambda x, to: torch.from_numpy(x),
    "tensor with a gradient": lambda x, to: torch.from_numpy(x / 255).requires_grad_(),
    "tensor with channels first": lambda x, to: torch.from_numpy(x)[None],
    "not contiguous": lambda x, to: x[::-1][::-1],
    "Pillow": lambda x, to: Image.fromarray(x),
    "bytes": lambda x, to: png(x),
    "bytearray": lambda x, to: bytearray(png(x)),
    "memoryview": lambda x, to: memoryview(png(x)),
    "file in memory": lambda x, to: io.BytesIO(png(x)),
    "path": lambda x, to: _file(x, to),
    "path as text": lambda x, to: str(_file(x, to)),
    "open file": lambda x, to: _file(x, to).open("rb"),
    "member of a zip": lambda x, to: _zip(x, to).open("a.png"),
}


def _file(x: np.ndarray, to: Path) -> Path:
    (to / "a.png").write_bytes(png(x))
    return to / "a.png"


def _zip(x: np.ndarray, to: Path) -> zipfile.ZipFile:
    with zipfile.ZipFile(to / "a.zip", "w") as archive:
        archive.writestr("a.png", png(x))
    return zipfile.ZipFile(to / "a.zip")


@pytest.mark.parametrize("way", ONE.values(), ids=ONE)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_picture_is_one_picture_however_it_comes(way, tmp_path):
    one = way(GRAY[0], tmp_path)
    assert not several(one)
    one = way(GRAY[0], tmp_path)
    np.testing.assert_array_equal(prepared(one), GRAY[:1, ..., None])


MANY = {
    "stack": lambda x: x,
    "stack with an axis for gray": lambda x: x[..., None],
    "stack with channels first": lambda x: x[:, None],
    "stack of floats": lambda x: (x / 255).astype(np.float32),
    "tensor": lambda x: torch.from_numpy(x),
    "tensor with channels first": lambda x: torch.from_numpy(x)[:, None],
    "list": list,
    "tuple": tuple,
    "deque": deque,
    "generator": lambda x: (one for one in x),
    "iterator": lambda x: iter(x),
    "array of objects": lambda x: _objects([*x]),
    "list of mixed kinds": lambda x: [x[0], Image.fromarray(x[1]), png(x[2]), io.BytesIO(png(x[3])), x[4] / 255, x[5]],
    "list of stacks": lambda x: [np.stack([*x[:2], *x[:3]])[:2], x[2:4], x[4:]],
    "Images": lambda x: Images(x[..., None], np.zeros(len(x), int), ("a", "b")),
}


def _objects(pictures_: list) -> np.ndarray:
    out = np.empty(len(pictures_), object)
    out[:] = pictures_
    return out


@pytest.mark.parametrize("way", MANY.values(), ids=MANY)
def test_several_pictures_are_several_however_they_come(way):
    assert several(way(GRAY))
    np.testing.assert_array_equal(prepared(way(GRAY)), GRAY[..., None])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x, []),
        (lambda x: x.transpose(0, 3, 1, 2), ["[6, 3, 14, 11] is taken as [N, C, H, W]"]),
        (lambda x: torch.from_numpy(x).permute(0, 3, 1, 2) / 255, ["[6, 3, 14, 11] is taken as [N, C, H, W]"]),
        (lambda x: [one.transpose(2, 0, 1) for one in x], ["[3, 14, 11] is taken as [C, H, W]"] * 6),
    ],
)
def test_channels_before_rows_are_turned_and_it_is_said(change, said):
    notes: list[str] = []
    _, items = pictures(change(COLOR), 3, notes.append)
    found = [Preprocess(SIZE, 3).prepare(item.picture) for item in items]
    np.testing.assert_array_equal(found, COLOR)
    assert len(notes) == len(said)
    for note, part in zip(notes, said, strict=True):
        assert part in note


def test_files_of_several_names_in_folders_and_archives_are_found_as_in_training(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("2.PNG", "10.jfif", "deep/er/x.bmp", ".hidden.png", "._2.png", "notes.txt"):
        Image.fromarray(GRAY[0]).save(folder / name, "PNG" if "txt" in name or "jfif" in name else None)
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder))
    for place in (folder, str(folder), tmp_path / "pictures.zip"):
        _, items = pictures(place, 1, print)
        paths = [item.path for item in items]
        assert set(paths) == {f"{place}/{name}" for name in ("2.PNG", "10.jfif", "deep/er/x.bmp")}
    _, items = pictures(folder, 1, print)
    assert [Path(present(item.path)).name for item in items] == ["2.PNG", "10.jfif", "x.bmp"]


def test_a_generator_is_read_as_the_answers_are_taken():
    read = []

    def endless():
        while True:
            read.append(1)
            yield GRAY[0]

    _, items = pictures(endless(), 1, print)
    for _ in range(3):
        next(items)
    assert len(read) == 3


def test_nothing_gives_nothing():
    for nothing in ([], (), iter([]), np.zeros((0, 5, 5), np.uint8), np.zeros((0, 5, 5, 3)), np.array([])):
        assert several(nothing)
        assert prepared(nothing) == []


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (None, "there is no picture"),
        (7, "7 is no picture"),
        (object, "is no picture"),
        ({"a": GRAY[0]}, "dict is no picture"),
        ([GRAY[0], None], "picture 1: there is no picture"),
        ([GRAY[0], 3], "picture 1: 3 is a number"),
        ([(GRAY[0], 1)], "picture 0: a pair"),
        (GRAY.tolist(), "nested lists"),
        (np.zeros(5), r"\[5\] is no picture"),
        (np.zeros(()), r"\[\] is no picture"),
        (np.zeros((2, 2, 5, 5, 3)), r"\[2, 2, 5, 5, 3\] is no picture"),
        (np.zeros((2, 7, 9, 9)), r"\[2, 7, 9, 9\] is no picture"),
        (np.zeros((3, 9, 9), np.uint8), r"one picture \[C, H, W\] or 3 gray ones"),
        (np.zeros((4, 9, 9), np.uint8), r"or 4 gray ones"),
        (GRAY.astype(float), "must lie in 0..1"),
        (GRAY[0].astype(float), "must lie in 0..1"),
        (np.full((9, 9), np.nan), "must lie in 0..1"),
        (GRAY.astype(np.uint16) * 200, "must lie in 0..255"),
        (GRAY.astype(complex), "must be numbers"),
        (np.zeros((0, 9), np.uint8), r"\[0, 9\]"),
        (io.StringIO("text"), "opened as text|not bytes"),
        (torch.zeros(3, 9, 9).to("meta"), "cannot be read|meta"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_explained_in_one_line(given_, said):
    with pytest.raises(InputError, match=said) as refused:
        prepared(given_)
    assert "\n" not in str(refused.value)


def test_places_without_a_picture_are_explained_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.png").write_text("<html>")
    with zipfile.ZipFile(tmp_path / "no.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    for place, said in {
        "pipe": "no plain file",
        "empty": "no image files in the folder",
        "no.zip": "no image files in the archive",
        "cut.zip": "cut.zip",
        "page.png": "not an image",
        "none.png": "no such file",
        "nul\0.png": "nul",
    }.items():
        (item,) = pictures(tmp_path / place, 1, print)[1]
        with pytest.raises(InputError, match=said) as refused:
            read(item)
        assert "\n" not in str(refused.value)
    (item,) = pictures("https://example.org/cat.png", 1, print)[1]
    assert "not downloaded" in str(item.picture)


@given(st.lists(st.integers(0, 6), min_size=0, max_size=5))
@settings(deadline=None, max_examples=80)
def test_every_shape_is_taken_or_explained(shape):
    with contextlib.suppress(InputError):  # any other exception is a fault
        assert all(picture.shape == (*SIZE, 1) for picture in prepared(np.zeros(shape, np.uint8)))
