import json
import os
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import TWO_CLASSES, encoded, picture, write_tree

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.formats import decoding
from convlens.data.formats.folders import FolderSource
from convlens.data.formats.listing import Listing
from convlens.data.store import cache
from typed import wrong

SMALL = Preprocess((8, 8), 3)


def kept(source: data.Source) -> Listing:
    """What a source of files knows of them."""
    assert isinstance(source, FolderSource)
    return source.listing


PNG = encoded(picture())


def test_a_folder_of_class_folders_is_a_source(tree):
    source = data.find(tree(TWO_CLASSES))
    assert source.name == "pictures"
    assert source.classes == ("a", "b")
    assert source.native == (3, 10, 12)
    reading = source.read(SMALL)
    parts = reading.parts
    assert set(parts) == {"train"}
    assert parts["train"].labels.tolist() == [0] * 4 + [1] * 4
    expected = np.stack([SMALL.prepare(picture(seed)) for seed in TWO_CLASSES.values()])
    np.testing.assert_array_equal(parts["train"].pixels, expected)
    assert reading.skipped == ()


def test_folder_zip_and_tar_of_the_same_files_give_the_same_images(tree, tmp_path):
    folder = tree({f"train/{k}": v for k, v in TWO_CLASSES.items()} | {f"test/{k}": v for k, v in TWO_CLASSES.items()})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(folder, "top")
    prints = set()
    for path in (folder, tmp_path / "set.zip", tmp_path / "set.tar.gz"):
        source = data.find(path)
        assert source.name == ("pictures" if path == folder else "set")
        prints.add(tuple((part, images.fingerprint()) for part, images in source.read(SMALL).parts.items()))
    assert len(prints) == 1


def test_native_is_none_if_sizes_differ_and_gray_if_all_are(tree):
    assert data.find(tree({**TWO_CLASSES, "a/9.png": encoded(picture(0, (5, 5)))})).native is None
    gray = {name: encoded(picture(seed, mode="L")) for name, seed in TWO_CLASSES.items()}
    assert data.find(tree({**gray, "a/9.png": encoded(picture(0, mode="L"))})).native == (1, 10, 12)


def test_native_is_the_size_after_turning(tree):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {f"{c}/{k}.jpg": encoded(picture(k), "JPEG", exif=exif) for c in "ab" for k in range(2)}
    source = data.find(tree(turned))
    assert source.native == (3, 12, 10)


BAD = {
    "a/cut.png": PNG[:60],
    "a/empty.jpg": b"",
    "b/text.png": b"not an image",
    "b/broken name \n.jpg": encoded(picture(1, (64, 64)), "JPEG")[:600],
}


@pytest.mark.parametrize("pack", [False, True])
def test_corrupt_images_among_good_ones_are_named_and_left_out(tree, tmp_path, pack):
    folder = tree({**TWO_CLASSES, **BAD})
    path = folder
    if pack:
        path = tmp_path / "p.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(folder, ".")
    reading = data.find(path).read(SMALL)
    images = reading.parts["train"]
    assert {name for name, _ in reading.skipped} == {name.replace("\n", "\\n") for name in BAD}
    assert all(why and "\n" not in why for _, why in reading.skipped)
    expected = np.stack([SMALL.prepare(picture(seed)) for seed in TWO_CLASSES.values()])
    np.testing.assert_array_equal(images.pixels, expected)
    assert images.labels.tolist() == [0] * 4 + [1] * 4


def test_a_decompression_bomb_among_the_images_is_skipped(tree, monkeypatch):
    monkeypatch.setenv("CONVLENS_MAX_PIXELS", "500")
    reading = data.find(tree({**TWO_CLASSES, "a/big.png": encoded(picture(0, (30, 30)))})).read(SMALL)
    assert len(reading.parts["train"]) == 8
    why = "refused, 30 x 30 is more than the 500 pixels of CONVLENS_MAX_PIXELS"
    assert reading.skipped == (("a/big.png", why),)


def test_a_class_of_which_nothing_can_be_decoded_is_named(tree):
    source = data.find(tree({"a/1.png": 1, "b/1.png": b"", "b/2.png": b""}))
    with pytest.raises(InputError, match=r"none of the train images of class 'b' can be decoded.*b/1.png"):
        source.read(SMALL)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"readme.txt": b"x"}, "no images in it"),
        ({"a/1.png": 1, "a/2.png": 2}, "only one class"),
        ({"1.png": 1, "2.png": 2}, "no class folders"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_in_one_line(tree, files, said):
    with pytest.raises(InputError, match=said) as caught:
        data.find(tree(files))
    assert "\n" not in str(caught.value)
    assert "pictures" in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no images in it"):
        data.find(tmp_path)


def test_a_class_with_one_image_is_refused_when_it_has_to_be_split(tree):
    source = data.find(tree({**TWO_CLASSES, "c/only.png": 1}))
    with pytest.raises(InputError, match="class 'c' has only 1 image"):
        data.split(source.read(SMALL).parts, seed=0)


def test_class_names_that_are_not_utf_8_are_escaped(tmp_path):
    root = os.fsencode(tmp_path) + b"/p/"
    for name in (b"caf\xe9", b"tea"):
        os.makedirs(root + name)
        for k in range(2):
            with open(root + name + b"/%d.png" % k, "wb") as file:
                file.write(PNG)
    source = data.find(tmp_path / "p")
    assert source.classes == ("caf\\udce9", "tea")
    assert len(source.read(SMALL).parts["train"]) == 4


def test_progress_ends_at_the_number_of_images(tree):
    seen = []
    data.find(tree({**TWO_CLASSES, **BAD})).read(SMALL, lambda *now: seen.append(now))
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)


def test_large_files_go_through_threads_to_the_same_result(tree, monkeypatch):
    folder = tree(TWO_CLASSES)
    inline = data.find(folder).read(SMALL).parts["train"].fingerprint()
    monkeypatch.setattr(decoding, "_THREADS_FROM_BYTES", 0)
    monkeypatch.setattr(decoding, "_BATCH", 3)
    assert data.find(folder).read(SMALL).parts["train"].fingerprint() == inline


@pytest.fixture
def keep_everything(monkeypatch):
    monkeypatch.setattr(cache, "WORTH_SECONDS", 0)


def decoded(own_cache):
    return [path for path in (own_cache / "decoded").iterdir() if path.is_dir()]


def never(*_):
    raise AssertionError("decoded again")


def test_the_second_reading_comes_from_the_cache_with_the_same_skipped_files(
    tree, own_cache, keep_everything, monkeypatch
):
    folder = tree({**TWO_CLASSES, **BAD})
    first = data.find(folder).read(SMALL)
    assert len(decoded(own_cache)) == 1
    monkeypatch.setattr(Preprocess, "prepare", never)
    second = data.find(folder).read(SMALL)
    assert second.parts["train"].fingerprint() == first.parts["train"].fingerprint()
    assert second.skipped == first.skipped


def test_several_may_read_one_source_at_once(tree, keep_everything):
    source = data.find(tree({**TWO_CLASSES, **BAD}))
    sizes = [Preprocess((4 + k % 3, 5), 3) for k in range(9)]
    with ThreadPoolExecutor(6) as pool:
        at_once = list(pool.map(source.read, sizes))
    for size, reading in zip(sizes, at_once, strict=True):
        alone = data.find(kept(source).path).read(size)
        assert reading.skipped == alone.skipped
        assert {len(reading.skipped)} == {len(BAD)}
        np.testing.assert_array_equal(reading.parts["train"].pixels, alone.parts["train"].pixels)
    with pytest.raises(FrozenInstanceError):
        wrong(source).stream = True


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_that_an_exif_tag_turns_are_counted_also_from_the_cache(tree, keep_everything, stream):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {f"a/t{k}.jpg": encoded(picture(k), "JPEG", exif=exif) for k in range(3)}
    folder = tree({**TWO_CLASSES, **turned, **BAD})
    for _ in range(2):
        reading = data.find(folder, stream=stream).read(SMALL)
        assert reading.turned == 3
        assert "3 pictures are turned as the EXIF tag says" in reading.notes


def test_a_changed_file_or_another_preprocessing_is_decoded_anew(tree, own_cache, keep_everything):
    folder = tree(TWO_CLASSES)
    data.find(folder).read(SMALL)
    data.find(folder).read(Preprocess((8, 8), 1))
    data.find(folder).read(Preprocess((8, 8), 3, interpolation="box"))
    data.find(folder).read(Preprocess((8, 8), 3, mean=(0.5,) * 3))  # applied later: the same pictures
    assert len(decoded(own_cache)) == 3
    (folder / "a" / "1.png").write_bytes(encoded(picture(99)))
    np.testing.assert_array_equal(data.find(folder).read(SMALL).parts["train"].pixels[1], SMALL.prepare(picture(99)))


def test_a_damaged_cache_entry_is_made_anew(tree, own_cache, keep_everything):
    folder = tree(TWO_CLASSES)
    before = data.find(folder).read(SMALL).parts["train"].fingerprint()
    (entry,) = decoded(own_cache)
    for damage in (
        lambda: (entry / "train.u8").write_bytes(b"short"),
        lambda: (entry / "meta.json").write_text("{"),
        lambda: (entry / "meta.json").write_text("[]"),
        lambda: (entry / "train.u8").unlink(),
    ):
        damage()
        assert data.find(folder).read(SMALL).parts["train"].fingerprint() == before


@pytest.mark.parametrize("large", [1 << 30, 100])
@pytest.mark.parametrize("packed", [False, True])
def test_a_cache_that_cannot_be_written_is_no_error_and_said(
    tree, monkeypatch, tmp_path, keep_everything, large, packed
):
    (tmp_path / "file").write_text("in the way")
    path = tree(TWO_CLASSES)
    if packed:
        path = Path(shutil.make_archive(str(tmp_path / "set"), "zip", path))
    expected = data.find(path).read(SMALL).parts["train"].fingerprint()
    monkeypatch.setenv("CONVLENS_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(cache, "LARGE", large)
    monkeypatch.setattr(cache, "RESERVE", -(10**15))
    reading = data.find(path).read(SMALL)
    assert reading.parts["train"].fingerprint() == expected
    told = [note for note in reading.notes if "a part of the path is a file" in note or "a file of that name" in note]
    assert len(told) == 1
    assert "\n" not in told[0]


def test_a_picture_that_was_too_large_is_read_once_the_limit_allows_it(tree, monkeypatch, keep_everything):
    folder = tree({**TWO_CLASSES, "a/big.png": encoded(picture(0, (30, 30)))})
    for limit, count in (("500", 8), ("5000", 9)):
        monkeypatch.setenv("CONVLENS_MAX_PIXELS", limit)
        assert len(data.find(folder).read(SMALL).parts["train"]) == count


def test_large_sets_are_read_only_memory_maps_of_the_cache(tree, own_cache, keep_everything, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", 100)
    folder = tree({**TWO_CLASSES, **BAD})
    expected = np.stack([SMALL.prepare(picture(seed)) for seed in TWO_CLASSES.values()])
    for _ in range(2):
        pixels = data.find(folder).read(SMALL).parts["train"].pixels
        assert isinstance(pixels, np.memmap)
        assert not pixels.flags.writeable
        np.testing.assert_array_equal(pixels, expected)
    assert not list((own_cache / "decoded").glob("*.tmp"))


def test_the_cache_forgets_what_was_not_used_for_longest(tree, own_cache, keep_everything, monkeypatch):
    folder = tree(TWO_CLASSES)
    data.find(folder).read(SMALL)
    (old,) = decoded(own_cache)
    os.utime(old, (1, 1))
    monkeypatch.setattr(cache, "LIMIT", 1)
    data.find(folder).read(Preprocess((8, 8), 1))
    (kept,) = decoded(own_cache)
    assert kept != old


def test_the_listing_of_a_tar_is_kept(tree, tmp_path, keep_everything, monkeypatch):
    folder = tree(TWO_CLASSES)
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(folder, ".")
    first = data.find(tmp_path / "p.tar")
    monkeypatch.setattr(tarfile, "open", never)
    second = data.find(tmp_path / "p.tar")
    assert (kept(second).parts, second.native) == (kept(first).parts, first.native)


def test_an_interrupted_reading_leaves_nothing_behind(tree, own_cache, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", 100)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.find(tree(TWO_CLASSES)).read(SMALL, interrupt)
    assert list((own_cache / "decoded").iterdir()) == []


def test_numeric_class_folders_are_in_the_order_of_the_numbers(tmp_path):
    numbered = write_tree(tmp_path / "n", {f"{k}/1.png": k for k in range(12)})
    assert data.find(numbered).classes == tuple(map(str, range(12)))


def test_two_writers_of_one_process_never_share_a_draft(own_cache, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", 100)
    one, other = cache.Entry("key"), cache.Entry("key")
    first, second = one.empty("train", (50, 4)), other.empty("train", (50, 4))
    first[:], second[:] = 1, 2
    assert (first == 1).all()
    for entry, array in ((one, first), (other, second)):
        entry.keep({"train": array}, [])
        entry.discard()
    loaded = cache.Entry("key").load()
    assert loaded is not None
    assert (loaded[0]["train"] == 2).all()
    assert [path.name for path in (own_cache / "decoded").iterdir()] == ["key"]


def test_what_a_dead_writer_left_is_removed_and_a_living_one_is_left_alone(own_cache, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", 100)
    dead, living, last = (cache.Entry(key) for key in ("dead", "living", "last"))
    for entry in (dead, living):
        entry.empty("train", (50, 4))
        os.utime(entry.draft, (1, 1))
    assert dead._lock is not None
    dead._lock.__exit__()  # as the system does when a process ends
    last.keep({"train": np.zeros((2, 2), np.uint8)}, [])
    assert not dead.draft.exists()
    assert living.draft.exists()
    living.discard()


@pytest.mark.parametrize("large", [1 << 30, 10])
@pytest.mark.parametrize("file", ["meta.json", "train.u8"])
def test_each_flipped_bit_of_a_cache_entry_is_a_miss_or_changes_nothing(own_cache, monkeypatch, file, large):
    monkeypatch.setattr(cache, "LARGE", large)  # from there on a memory map
    monkeypatch.setattr(cache, "_BLOCK", 20)
    arrays, value = {"train": np.arange(48, dtype=np.uint8).reshape(4, 12)}, [["a/1.png", "damaged"]]
    entry = cache.Entry("key")
    entry.keep(arrays, value)
    entry.discard()
    path = entry.folder / file
    whole = path.read_bytes()
    misses = 0
    for bit in range(0, 8 * len(whole), 7):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = cache.Entry("key").load()
        misses += found is None
        if found is not None and file == "train.u8":
            np.testing.assert_array_equal(found[0]["train"], arrays["train"])
    assert misses > (0 if file == "meta.json" else len(whole) // 2)


@pytest.mark.parametrize(
    "value",
    [
        7,
        {},
        {"skipped": [["a"]]},
        {"skipped": [["a/0.png", 3]]},
        {"skipped": [], "turned": -1},
        {"a": "b"},
        {"skipped": [["a/0.png", "gone"], ["b/1.png", "gone"]], "turned": 0},
    ],
)
def test_a_cache_entry_with_another_story_is_decoded_again(tree, own_cache, keep_everything, value):
    path = tree(TWO_CLASSES)
    whole = data.find(path).read(SMALL).parts
    (folder,) = decoded(own_cache)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"value": value}))
    again = data.find(path).read(SMALL)
    np.testing.assert_array_equal(again.parts["train"].pixels, whole["train"].pixels)
    assert again.skipped == ()


@pytest.mark.parametrize(
    "listing", ["5", "{}", '{"paths": [1], "native": null}', '{"paths": ["a"], "native": [1]}', "["]
)
def test_a_damaged_listing_is_made_again(tree, tmp_path, own_cache, monkeypatch, listing):
    monkeypatch.setattr(cache, "WORTH_SECONDS", 0)
    archive = tmp_path / "set.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tree(TWO_CLASSES), "set")
    n = len(data.find(archive).read(SMALL).parts["train"])
    (kept,) = (own_cache / "listings").iterdir()
    kept.write_text(listing)
    assert len(data.find(archive).read(SMALL).parts["train"]) == n
