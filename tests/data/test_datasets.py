"""Datasets of PyTorch and other libraries, and lists of pictures with labels, are sources like arrays."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2, 0, 1]
AS_THEY_ARE = Preprocess((6, 5), 3)


class Items(torch.utils.data.Dataset):
    """A dataset of what is in a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


WAYS = {
    "arrays": [*zip(PIXELS, LABELS, strict=True)],
    "channels first": [*zip(PIXELS.transpose(0, 3, 1, 2), LABELS, strict=True)],
    "tensors": [
        (torch.from_numpy(p).permute(2, 0, 1) / 255, torch.tensor(k)) for p, k in zip(PIXELS, LABELS, strict=True)
    ],
    "Pillow": [(Image.fromarray(p), k) for p, k in zip(PIXELS, LABELS, strict=True)],
    "bytes": [(jpeg(p), k) for p, k in zip(PIXELS, LABELS, strict=True)],
    "mappings": [{"image": Image.fromarray(p), "label": k} for p, k in zip(PIXELS, LABELS, strict=True)],
    "lists": [[p, k] for p, k in zip(PIXELS, LABELS, strict=True)],
}  # fmt: skip


@pytest.mark.parametrize("items", WAYS.values(), ids=WAYS)
def test_every_usual_item_is_read_with_its_own_label(items):
    source = data.find(Items(items))
    assert source.native == (3, 6, 5)
    read = source.read(AS_THEY_ARE).parts["train"]
    np.testing.assert_array_equal(read.pixels, PIXELS)
    assert read.labels.tolist() == LABELS
    assert read.classes == ("0", "1", "2")
    assert "read once" in source.notes[0]


@pytest.mark.parametrize(
    "given",
    [
        WAYS["Pillow"],
        ([Image.fromarray(p) for p in PIXELS], LABELS),
        ([jpeg(p) for p in PIXELS], np.array(LABELS, np.uint8)),
        {"train": WAYS["arrays"], "test": WAYS["arrays"][:3]},
        (Items(WAYS["arrays"]), Items(WAYS["arrays"][:3])),
    ],
)
def test_lists_of_pictures_and_parts_are_taken(given):
    read = data.find(given).read(AS_THEY_ARE).parts
    np.testing.assert_array_equal(read["train"].pixels, PIXELS)
    assert read["train"].labels.tolist() == LABELS
    if len(read) > 1:
        assert read["test"].labels.tolist() == LABELS[:3]
        assert read["test"].classes == read["train"].classes


def test_paths_with_labels_are_taken_and_damaged_files_named(tmp_path):
    paths = []
    for k, picture in enumerate(PIXELS):
        paths.append(tmp_path / f"{k}.png")
        paths[-1].write_bytes(b"no picture" if k == 2 else jpeg(picture))
    for given in (paths, list(map(str, paths)), np.array(list(map(str, paths)))):
        reading = data.find((given, LABELS)).read(AS_THEY_ARE)
        read = reading.parts["train"]
        assert read.labels.tolist() == [0, 1, 0, 1, 2, 0, 1]
        assert reading.skipped[0][0] == "train[2]"


def test_pictures_that_an_exif_tag_turns_are_counted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(PIXELS[0]).save(tmp_path / "turned.jpg", exif=exif)
    given = [tmp_path / "turned.jpg", *(Image.fromarray(p) for p in PIXELS[1:])]
    assert data.find((given, LABELS)).read(AS_THEY_ARE).turned == 1


def test_pictures_of_several_sizes_are_prepared_like_files():
    pictures = [np.full((5 + k, 9, 3), 30 * k, np.uint8) for k in range(8)]
    source = data.find((pictures, LABELS))
    assert source.native is None
    assert source.read(AS_THEY_ARE).parts["train"].pixels[:, 0, 0, 0].tolist() == [30 * k for k in range(8)]


def test_names_of_classes_are_those_of_the_dataset():
    items = Items(WAYS["arrays"])
    vars(items)["classes"] = ["ant", "bee", "cat"]
    assert data.find(items).classes == ("ant", "bee", "cat")


class Broken(Items):
    def __getitem__(self, index):
        raise ZeroDivisionError("of the user's code")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.utils.data.DataLoader(Items(WAYS["arrays"])), "give the dataset of a DataLoader"),
        (Items([1, 2, 3, 4]), "each item must be"),
        (Items([(PIXELS[0], 1, 2)] * 4), "each item must be"),
        (Items([{"picture": 1, "image": 2, "label": 0}] * 4), "give .picture, label."),
        (Broken([1, 2]), "ZeroDivisionError: of the user's code"),
        (Items([(PIXELS[0], 0.5)] * 4), "0.5"),
        ({"train": Items(WAYS["arrays"]), "test": (PIXELS, LABELS)}, "in the same way"),
        (range(5), "each item must be"),
        ((["a.png", "b.png"], [0]), "2 pictures but 1 labels"),
        ((p for p in PIXELS), "not generator"),
    ],
)
def test_other_objects_are_explained_in_one_line(given, said):
    with pytest.raises(InputError, match=said) as refused:
        data.find(given)
    assert "\n" not in str(refused.value)


def test_normalized_tensors_are_refused_as_their_scale_is_not_known():
    with pytest.raises(InputError, match=r"must lie in 0\.\.1"):
        data.find(Items([(torch.randn(3, 6, 5) - 9, k) for k in LABELS])).read(AS_THEY_ARE)
