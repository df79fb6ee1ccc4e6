"""Pictures in tar shards: written, indexed, read in any order, to the same set as the folder."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import TWO_CLASSES, as_tar, encoded, picture

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.formats.folders import FolderSource
from convlens.data.shards.names import expanded, named
from convlens.data.shards.writing import write_shards
from convlens.data.store import cache

SMALL = Preprocess((8, 8), 3)
PARTED: dict[str, int | bytes] = {
    f"{part}/{name}": seed for part in ("train", "test") for name, seed in TWO_CLASSES.items()
}


def sharded(folder, out, size=13 << 10, seed=0):
    source = data.find(folder)
    assert isinstance(source, FolderSource)
    return write_shards(source.listing, out, size, seed)


def labeled(*rows: tuple[str, int, str]) -> dict[str, bytes]:
    """Members of a tar: of each (key, seed, class) a picture and its label."""
    return {
        name: content
        for key, seed, label in rows
        for name, content in ((f"{key}.png", encoded(picture(seed))), (f"{key}.cls", label.encode()))
    }


@pytest.mark.parametrize("stream", [False, True])
def test_a_set_from_shards_is_the_set_of_the_folder(tree, tmp_path, stream):
    folder = tree(PARTED)
    written = sharded(folder, tmp_path / "out")
    assert len(written.manifest.shards) > 4
    expected, found = (data.find(path, stream=stream).read(SMALL) for path in (folder, tmp_path / "out"))
    assert found.parts.keys() == expected.parts.keys()
    for part, images in found.parts.items():
        assert images.fingerprint() == expected.parts[part].fingerprint()
        assert images.classes == expected.parts[part].classes
        assert list(images.paths) == list(expected.parts[part].paths)  # type: ignore[arg-type]
        np.testing.assert_array_equal(images.pixels, expected.parts[part].pixels)


def test_splits_of_a_set_without_parts_are_those_of_the_folder(tree, tmp_path):
    folder = tree(TWO_CLASSES)
    sharded(folder, tmp_path / "out")
    assert all(path.name.startswith("set-") for path in (tmp_path / "out").glob("*.tar"))
    ours, theirs = (data.split(data.find(path).read(SMALL).parts, seed=3) for path in (tmp_path / "out", folder))
    assert [part.fingerprint() for part in ours] == [part.fingerprint() for part in theirs]


def test_other_programs_read_the_shards(tree, tmp_path):
    folder = tree(PARTED)
    written = sharded(folder, tmp_path / "out")
    seen = {}
    for entry in written.manifest.shards:
        with tarfile.open(tmp_path / "out" / entry.name) as archive:
            members = [(m.name, archive.extractfile(m).read()) for m in archive.getmembers()]  # type: ignore[union-attr]
        assert len(members) == 2 * entry.images
        for (image, content), (told, text) in zip(members[::2], members[1::2], strict=True):
            assert image.removesuffix(".png") == told.removesuffix(".json")
            seen[json.loads(text)["path"]] = content
    assert seen == {name: (folder / name).read_bytes() for name in PARTED}


def test_the_same_pictures_give_the_same_bytes_and_another_seed_another_order(tree, tmp_path):
    folder = tree(PARTED)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sharded(folder, tmp_path / name, seed=seed)
    a, b, c = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "abc")
    assert a == b
    assert a != c


def test_writing_goes_on_where_it_was_stopped(tree, tmp_path, monkeypatch):
    folder, out = tree(PARTED), tmp_path / "out"
    sharded(folder, tmp_path / "whole")
    container = data.find(folder).listing.container  # type: ignore[attr-defined]
    reads, calls = container.reader(), []

    def failing():
        def read(path):
            calls.append(path)
            if len(calls) > 11:
                raise InputError("the disk is full")
            return reads(path)

        return read

    source = data.find(folder)
    monkeypatch.setattr(source.listing.container, "reader", failing)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="disk is full"):
        write_shards(source.listing, out, 13 << 10)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="unfinished"):
        data.find(out)
    kept = len(list(out.glob("*.tar")))
    assert sharded(folder, out).kept == kept > 0
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()
    }


def test_a_folder_with_other_things_is_not_written_into(tree, tmp_path):
    folder = tree(PARTED)
    sharded(folder, tmp_path / "out")
    with pytest.raises(InputError, match="is complete"):
        sharded(folder, tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        sharded(folder, folder)


def test_labels_of_other_programs_are_understood(tmp_path):
    as_tar(tmp_path / "train-000.tar", labeled(("a", 1, "10"), ("b", 2, "9"), ("c", 3, "9"), ("d", 4, "10")))
    as_tar(tmp_path / "test-000.tar", labeled(("a", 5, "9\n"), ("b", 6, "10")))
    source = data.find(str(tmp_path / "{train,test}-000.tar"))
    assert source.classes == ("9", "10")
    parts = source.read(SMALL).parts
    assert parts["train"].labels.tolist() == [0, 0, 1, 1]
    assert parts["test"].labels.tolist() == [0, 1]


def test_json_labels_may_be_numbers_or_names_among_other_keys(tmp_path):
    files = {}
    for key, told in (
        ("a", {"label": 1}),
        ("b", {"label": 0, "caption": ["x"]}),
        ("c", {"class": "1"}),
        ("d", {"cls": 0}),
    ):
        files |= {f"x/{key}.jpg": encoded(picture(ord(key)), "JPEG"), f"x/{key}.json": json.dumps(told).encode()}
    as_tar(tmp_path / "s-0.tar", files)
    parts = data.find(str(tmp_path / "s-{0..0}.tar")).read(SMALL).parts
    assert parts["train"].labels.tolist() == [0, 0, 1, 1]


def test_tars_of_class_folders_without_labels_are_read_by_their_folders(tmp_path):
    for number in range(2):
        rows = {f"{name}/{number}{k}.png": encoded(picture(k)) for name in "ab" for k in range(3)}
        as_tar(tmp_path / f"{number}.tar", rows)
    source = data.find(str(tmp_path / "{0..1}.tar"))
    assert source.classes == ("a", "b")
    assert len(source.read(SMALL).parts["train"]) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: os.truncate(path, 1800), "damaged tar"),
        (lambda path: os.truncate(path, 1024), "damaged tar"),
        (lambda path: path.write_bytes(b"no tar" * 999), "damaged tar"),
        (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(1000)), "is packed"),
    ],
)
@pytest.mark.parametrize("manifest", [False, True])
def test_a_shard_that_cannot_be_read_is_named(tree, tmp_path, change, said, manifest):
    sharded(tree(PARTED), tmp_path / "out")
    change(tmp_path / "out" / "train-0001.tar")
    if manifest:
        said = said if said == "is missing" else "copy it again"
    else:
        (tmp_path / "out" / "shards.json").unlink()
    with pytest.raises(InputError, match=said) as error:
        data.find(tmp_path / "out" if manifest else str(tmp_path / "out" / "train-{0000..0001}.tar"))
    assert "train-0001.tar" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_shard_that_changes_while_it_is_used_is_named(tree, tmp_path):
    sharded(tree(PARTED), tmp_path / "out")
    images = data.find(tmp_path / "out", stream=True).read(SMALL).parts["train"]
    path = tmp_path / "out" / "train-0001.tar"
    content, status = bytearray(path.read_bytes()), path.stat()
    content[520] ^= 1  # within a picture, at the same time and size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match=r"train-0001\.tar has changed since it was indexed"):
        images.pixels[:]
    os.utime(path)
    with pytest.raises(InputError, match=r"train-0001\.tar has changed since it was indexed"):
        images.pixels[:]


def test_an_index_is_made_once_and_again_after_a_change(tree, tmp_path, monkeypatch):
    from convlens.data.shards import index

    sharded(tree(PARTED), tmp_path / "out")
    made = []
    real = index._made
    monkeypatch.setattr(index, "_made", lambda shard, *rest: (made.append(shard.name), real(shard, *rest))[1])
    count = len(data.find(tmp_path / "out").listing)  # type: ignore[attr-defined]
    first = len(made)
    assert len(data.find(tmp_path / "out").listing) == count  # type: ignore[attr-defined]
    assert first == len(set(made)) == len(made)
    os.utime(tmp_path / "out" / "test-0000.tar")
    data.find(tmp_path / "out")
    assert made[first:] == ["test-0000.tar"]
    for path in (cache.cache_folder() / "shard-index").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    data.find(tmp_path / "out")
    assert len(made) == 2 * first + 1


def test_two_pictures_of_one_name_and_pictures_without_a_label_are_refused(tmp_path):
    told = json.dumps({"class": "x", "path": "same.png"}).encode()
    rows = {f"{key}.{kind}": content for key in "ab" for kind, content in (("png", encoded(picture())), ("json", told))}
    as_tar(tmp_path / "t-0.tar", rows)
    with pytest.raises(InputError, match=r"both have same\.png"):
        data.find(str(tmp_path / "t-{0..0}.tar"))
    as_tar(tmp_path / "t-0.tar", {**labeled(("a", 1, "x"), ("b", 2, "y")), "c.png": encoded(picture())})
    with pytest.raises(InputError, match=r"t-0\.tar: c\.png has no label"):
        data.find(str(tmp_path / "t-{0..0}.tar"))
    as_tar(tmp_path / "t-0.tar", {"a.png": encoded(picture()), "a.json": b'{"class": [1]}'})
    with pytest.raises(InputError, match=r"t-0\.tar: a\.json"):
        data.find(str(tmp_path / "t-{0..0}.tar"))


def test_a_damaged_picture_is_left_out_and_named_as_in_a_folder(tree, tmp_path):
    folder = tree({**PARTED, "train/a/bad.png": b"no picture"})
    sharded(folder, tmp_path / "out")
    ours, theirs = (data.find(path).read(SMALL) for path in (tmp_path / "out", folder))
    assert ours.skipped == theirs.skipped
    assert ours.parts["train"].fingerprint() == theirs.parts["train"].fingerprint()


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 5))
def test_braces_count_as_in_a_shell(first, more, digits):
    names = expanded(f"a-{{{first:0{digits}d}..{first + more}}}.tar")
    assert names == [f"a-{number:0{digits}d}.tar" for number in range(first, first + more + 1)]


def test_braces_that_say_nothing_are_refused_and_other_names_are_no_shards(tmp_path):
    for text in ("{5..1}.tar", "{x}.tar", "{0..999999}.tar"):
        with pytest.raises(InputError):
            named(text)
    with pytest.raises(InputError, match="two shards"):
        named("{a,b}/0.tar")
    assert named(str(tmp_path)) is None
    assert named("digits") is None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w"):
        pass
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    assert [shard.name for shard in named(str(tmp_path)) or ()] == ["x.tar"]
    (tmp_path / "a.png").write_bytes(b"")
    assert named(str(tmp_path)) is None
