"""Pictures that are not used are counted and named; what can be read is the same for training and prediction."""

import io

import numpy as np
import pytest
from PIL import Image
from samples import TWO_CLASSES, encoded, picture

from convlens.base.errors import InputError
from convlens.data import Images, Preprocess, find
from convlens.data.check import check
from convlens.data.decode import open_image, upright
from convlens.data.formats.folders import FolderSource
from convlens.data.suffixes import READABLE, UNREADABLE
from convlens.deploy.inputs import pictures
from typed import present

SIZE = Preprocess((8, 8), 3)


@pytest.mark.parametrize("end", sorted(READABLE))
def test_a_folder_that_trains_can_be_predicted(tree, end):
    root = tree({f"{c}/{k}{end}": k for c in "ab" for k in range(2)} | {"a/._0" + end: b"no picture"})
    assert len(find(root).read(SIZE).parts["train"]) == 4
    assert len(list(pictures(root, 3, print)[1])) == 4


@pytest.mark.parametrize("end", [".svg", ".PDF", ".cr2", ".psd"])
def test_a_format_that_is_not_read_is_counted_with_its_reason(tree, end):
    source = find(tree({**TWO_CLASSES, f"a/x{end}": b"anything"}))
    reading = source.read(SIZE)
    assert len(reading.parts["train"]) == 8
    assert reading.skipped == ((f"a/x{end}", UNREADABLE[end.lower()]),)
    assert check(source).problems == [*reading.skipped]


def test_heic_is_read_with_the_extra_and_explained_without(tree, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    root = tree({**TWO_CLASSES, "a/x.HEIC": encoded(picture(3, (64, 64)), "HEIF")})
    source = find(root)
    assert len(source.read(SIZE).parts["train"]) == 9
    for module in ("suffixes", "decode", "formats.listing", "formats.headers"):
        monkeypatch.setattr(f"convlens.data.{module}.has_heif", lambda: False)
    reading = find(root).read(SIZE)
    assert len(reading.parts["train"]) == 8
    assert "pip install 'convlens[heif]'" in reading.skipped[0][1]


def test_a_class_of_which_nothing_can_be_read_is_refused_with_its_own_reason(tree):
    root = tree({**TWO_CLASSES, "a/page.jpg": b"<html>", "c/drawing.svg": b"<svg/>"})
    with pytest.raises(InputError, match=r"class 'c' can be decoded \(such as c/drawing.svg: documents and drawings"):
        find(root).read(SIZE)


def test_pictures_carry_their_paths_through_selections(tree):
    images = find(tree({**TWO_CLASSES, "a/1.png": b"damaged"})).read(SIZE).parts["train"]
    assert present(images.paths).tolist() == ["a/0.png", "a/2.png", "a/3.png", *(f"b/{k}.png" for k in range(4))]
    for chosen in ([2, 0], slice(1, 3), np.arange(7) % 2 == 0):
        assert present(images.select(chosen).paths).tolist() == present(images.paths)[chosen].tolist()


def test_as_many_paths_as_images_are_wanted():
    with pytest.raises(InputError, match="2 images but 1 paths"):
        Images(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, int), ("a",), paths=np.array(["x"], object))


def test_color_is_judged_from_every_header(tree):
    gray = encoded(picture(1, mode="L"))
    root = tree({f"{c}/{k:03}.png": gray for c in "ab" for k in range(65)} | {"b/070.png": 5})
    assert FolderSource.of(root).native == (3, 10, 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_but_upright_is_counted(tree, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(1), "JPEG", exif=exif)
    findings = check(find(tree({**TWO_CLASSES, "a/x.jpg": content})))
    assert findings.orientations == ({orientation: 1} if orientation != 1 else {})
    assert findings.rotated == (orientation != 1)
    with open_image(io.BytesIO(content)) as image:
        assert (upright(image, 3).size == (12, 10)) == (orientation < 5)


def test_folders_without_pictures_are_named_and_other_files_counted(tree, tmp_path):
    path = tree(TWO_CLASSES)
    (path / "c").mkdir()
    (path / "d").mkdir()
    for name in ("d/list.txt", "a/.DS_Store", "readme.md"):
        (path / name).write_text("x")
    notes = find(path).notes
    assert "no pictures in c/ and d/: no class" in notes
    assert "3 files that are no pictures passed over" in notes
