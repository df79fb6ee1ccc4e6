"""One flipped bit in an archive of pictures is found, or changes nothing."""

import contextlib
import random
import tarfile
import zipfile

import numpy as np
import pytest
from samples import encoded, picture

from convlens import data
from convlens.base.errors import InputError
from convlens.data import Preprocess
from convlens.data.formats.containers import Tar, UnpackError, Zip
from typed import untyped

SMALL = Preprocess((10, 12), 3)
FLIPS = 120


def pictures() -> dict[str, bytes]:
    """Without checksums of their own. One name is no ASCII, so that its coding can be damaged too."""
    names = [f"{name}/{number}.ppm" for name in ("cat", "dög") for number in range(4)]
    return {name: encoded(picture(seed), "PPM") for seed, name in enumerate(names)}


def packed(path, kind):
    files = pictures()
    folder = path.with_name(f"{path.name} files")
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    if kind.startswith("zip"):
        method = zipfile.ZIP_DEFLATED if kind == "zip" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in files:
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, untyped(f"w:{kind.partition('.')[2]}")) as archive:
            archive.add(folder, ".")
    return path


def read(path):
    """Everything that a person would train on, and what was left out."""
    source = data.find(path)
    reading = source.read(SMALL)
    parts = reading.parts.items()
    content = [(p, np.asarray(i.pixels).tobytes(), i.labels.tolist(), np.asarray(i.paths).tolist()) for p, i in parts]
    return source.classes, content, reading.skipped


def flipped(path, whole, place, expected) -> str:
    """What the archive with one bit changed is answered with: a line, or nothing where it is as before."""
    damaged = bytearray(whole)
    damaged[place // 8] ^= 1 << place % 8
    path.write_bytes(damaged)
    try:
        found = read(path)
    except InputError as error:
        return str(error)
    assert found == expected, f"bit {place} of {len(whole)} bytes"
    return ""


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip", "zip stored"])
def test_one_flipped_bit_is_an_error_or_changes_nothing(tmp_path, kind):
    path = packed(tmp_path / "set", kind)
    whole, expected = path.read_bytes(), read(path)
    places = random.Random(kind).sample(range(8 * len(whole)), FLIPS)
    lines = [line for place in places if (line := flipped(path, whole, place, expected))]
    assert len(lines) > FLIPS // 2
    assert all(str(path) in line and "\n" not in line for line in lines)


@pytest.mark.parametrize("place", [-1, -2, -3, -4, -5, -6, -7, -8, -9, -12])  # checksums lie at the end
@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_damage_found_in_one_picture_is_found_again_when_the_archive_is_read_on(tmp_path, kind, place):
    """libbzip2 refuses to go on after an error with a RuntimeError, the others go on with anything at all."""
    path = packed(tmp_path / "set", f"tar.{kind}")
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 0x55
    path.write_bytes(damaged)
    with contextlib.suppress(InputError):  # padding may change nothing
        for _, content in Tar(path).members():
            with contextlib.suppress(InputError):  # as one who skips a picture that cannot be read
                content()
        assert kind == "xz"


@pytest.mark.parametrize("kind", ["zip", "zip stored"])
def test_no_bit_of_the_directory_of_a_zip_changes_the_set_in_silence(tmp_path, kind):
    path = packed(tmp_path / "set", kind)
    whole, expected = path.read_bytes(), read(path)
    headers = [at for at in range(len(whole)) if whole[at : at + 4] in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")]
    places = [
        8 * at + bit for at in headers[6:11] + headers[-1:] for bit in range(8 * 46) if at + bit // 8 < len(whole)
    ]
    for place in random.Random(kind).sample(places, 2 * FLIPS):
        assert "\n" not in flipped(path, whole, place, expected)


def test_one_flipped_bit_in_the_headers_of_a_plain_tar_is_an_error_or_changes_nothing(tmp_path):
    path = packed(tmp_path / "set", "tar.")
    whole, expected = path.read_bytes(), read(path)
    with tarfile.open(path) as archive:
        headers = [member.offset for member in archive.getmembers()]
    rng = random.Random(5)
    for _ in range(FLIPS):
        assert "\n" not in flipped(path, whole, 8 * rng.choice(headers) + rng.randrange(8 * 512), expected)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "tar.", "zip"])
def test_an_archive_cut_off_anywhere_is_an_error(tmp_path, kind):
    path = packed(tmp_path / "set", kind)
    whole = path.read_bytes().rstrip(b"\0") if kind == "tar." else path.read_bytes()
    for length in [*random.Random(6).sample(range(len(whole)), 15), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read(path)


def test_what_follows_the_end_of_a_tar_is_no_part_of_it_and_is_said(tmp_path):
    path = packed(tmp_path / "set", "tar.")
    path.write_bytes(path.read_bytes() + path.read_bytes())
    with pytest.raises(InputError, match=r"damaged tar archive .*follows its end mark"):
        read(path)


def test_a_member_that_cannot_be_unpacked_is_named_and_nothing_is_trained_on(tmp_path):
    path = packed(tmp_path / "set.zip", "zip stored")
    blob = bytearray(path.read_bytes())
    blob[blob.index(pictures()["cat/1.ppm"]) + 40] ^= 1
    path.write_bytes(blob)
    with pytest.raises(InputError, match=r"set\.zip: cat/1\.ppm cannot be unpacked \(Bad CRC-32.*copy or download"):
        read(path)
    with pytest.raises(UnpackError):
        [content() for _, content in Zip(path).files()]


def test_pictures_that_are_not_the_ones_announced_by_a_tar_are_never_given(tmp_path):
    path = packed(tmp_path / "set", "tar.gz")
    given = {name: bytes(content()) for name, content in Tar(path).files()}
    assert given == pictures()
