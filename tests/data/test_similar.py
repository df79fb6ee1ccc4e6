"""Pictures that look the same are found whatever their bytes are, and others are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from convlens import data
from convlens.data.check import check
from convlens.data.similar import Sketch, similar, sketch


def scene(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Soft blobs of color, as photographs have them."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), np.uint8)
    return Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


CHANGES = {
    "re-encoded": lambda image: Image.open(io.BytesIO(saved(image, quality=40))).convert("RGB"),
    "halved": lambda image: image.resize((image.width // 2, image.height // 2)),
    "doubled": lambda image: image.resize((2 * image.width, 2 * image.height)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_picture_and_its_changed_copy_look_the_same_and_others_do_not(change):
    scenes = [scene(k, (128, 112)) for k in range(12)]
    sketches = [sketch(image) for image in [*scenes, *map(change, scenes)]]
    assert all(each is not None for each in sketches)
    assert list(similar(sketches)) == [(k, k + 12) for k in range(12)]  # type: ignore[arg-type]


def drawn(fingerprint: np.ndarray, level: float = 0) -> Sketch:
    return Sketch(fingerprint, np.full((16, 16, 3), level, np.float32))


def test_every_pair_within_twenty_bits_is_found_and_no_other(monkeypatch):
    monkeypatch.setattr("convlens.data.similar._PRODUCTS", 1000)  # several blocks
    rng = np.random.default_rng(0)
    prints = [rng.random(256) < 0.5 for _ in range(60)]
    for k in range(60):  # neighbors of earlier ones, 0 to 40 bits away
        flipped = prints[k].copy()
        flipped[rng.permutation(256)[: k % 41]] ^= True
        prints.append(flipped)
    expected = [(i, j) for i in range(120) for j in range(i + 1, 120) if sum(prints[i] ^ prints[j]) <= 20]
    assert len(expected) > 20
    assert list(similar([drawn(each) for each in prints])) == expected
    kinds = [k % 60 for k in range(120)]
    assert list(similar([drawn(each) for each in prints], kinds)) == []
    assert list(similar([drawn(each, 20 * k) for k, each in enumerate(prints)])) == []  # other thumbnails


def test_a_series_of_equal_pictures_makes_no_list_of_all_its_pairs():
    found = list(similar([drawn(np.arange(256) % 3 == 0)] * 500, [k % 2 for k in range(500)]))
    assert 499 <= len(found) <= 8 * 500
    assert {k for pair in found for k in pair} == set(range(500))
    assert all((i - j) % 2 for i, j in found)


def test_plain_and_tiny_pictures_are_not_compared():
    assert sketch(Image.new("RGB", (200, 200), (9, 80, 200))) is None
    assert sketch(scene(0, (40, 40))) is None
    assert list(similar([])) == []


def test_no_two_of_the_real_photographs_look_the_same(real_data):
    source = data.find(real_data / "photos.zip")
    findings = check(source)
    assert (findings.near_leaks, findings.near_conflicts) == ([], [])


def test_copies_in_other_parts_and_classes_are_named_by_the_check(tmp_path):
    for part in ("train", "test"):
        for c, name in enumerate("ab"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for k in range(2):
                (folder / f"{k}.png").write_bytes(saved(scene(10 * c + k + 5 * (part == "test")), "PNG"))
    (tmp_path / "test/a/copy.jpg").write_bytes(saved(scene(0), quality=70))  # of train/a/0.png
    (tmp_path / "train/b/copy.png").write_bytes(saved(scene(1).resize((60, 50)), "PNG"))  # of train/a/1.png
    findings = check(data.find(tmp_path))
    assert findings.near_leaks == [["test/a/copy.jpg", "train/a/0.png"]] or findings.near_leaks == [
        ["train/a/0.png", "test/a/copy.jpg"]
    ]
    assert findings.near_conflicts == [["train/a/1.png", "train/b/copy.png"]]
    assert findings.leaks == []


def test_copies_in_arrays_are_found_too():
    pixels = np.stack([np.asarray(scene(k)) for k in range(6)])
    copy = np.asarray(CHANGES["re-encoded"](scene(2)))[None]
    labels = np.arange(6) % 2
    findings = check(data.find({"train": (pixels, labels), "test": (np.concatenate([pixels[:0], copy]), labels[:1])}))
    assert findings.near_leaks == [["train[2]", "test[0]"]]
