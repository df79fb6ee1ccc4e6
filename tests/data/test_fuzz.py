"""Whatever bytes come, the answer is a result or one line for the user; never a traceback of a parser."""

import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features
from samples import encoded, idx_bytes, picture

from convlens.base.errors import InputError
from convlens.data import Preprocess, idx
from convlens.data.containers import open_container

SMALL = Preprocess((6, 6), 3)


def image_files() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = ["GIF", "BMP", "PPM", "TIFF", "TGA", *(["WEBP"] if features.check("webp") else [])]
    files = [encoded(picture(k), kind) for k, kind in enumerate(kinds)]
    return [*files, encoded(picture(1, mode="RGBA"), "PNG"), encoded(picture(2, (40, 30)), "JPEG", exif=exif)]


def archives() -> list[bytes]:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", encoded(picture()))
        archive.writestr("b/2.png", encoded(picture(1)))
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name in ("a/1.png", "b/" + "long" * 40 + ".png"):
            member = tarfile.TarInfo(name)
            member.size = 600
            archive.addfile(member, io.BytesIO(bytes(600)))
    return [zipped.getvalue(), tarred.getvalue(), gzip.compress(tarred.getvalue())]


def idx_files() -> list[bytes]:
    import numpy as np

    content = idx_bytes(np.arange(3 * 5 * 5).reshape(3, 5, 5))
    return [content, gzip.compress(content)]


@st.composite
def damaged(draw, files: list[bytes]) -> bytes:
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content) - 1) | st.integers(0, min(80, len(content) - 1)))
        content[at] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


def one_line(caught: InputError) -> None:
    assert str(caught)
    assert "\n" not in str(caught)


@given(damaged(image_files()))
@settings(deadline=None, max_examples=150)
def test_a_damaged_image_is_a_picture_or_one_line(content):
    try:
        assert SMALL.prepare(content).shape == (6, 6, 3)
    except InputError as error:
        one_line(error)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "file"


@given(content=damaged(archives()))
@settings(deadline=None, max_examples=150)
def test_a_damaged_archive_gives_files_or_one_line(path, content):
    path.write_bytes(content)
    try:
        for _, blob in open_container(path).files():
            blob()
    except InputError as error:
        one_line(error)


@given(content=damaged(idx_files()))
@settings(deadline=None, max_examples=150)
def test_a_damaged_idx_file_is_an_array_or_one_line(path, content):
    path.write_bytes(content)
    try:
        idx.read_idx(path)
    except InputError as error:
        one_line(error)
