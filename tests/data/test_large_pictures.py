"""Pictures of phones and telescopes: decoded at the scale that is needed, in little memory, up to limits to be set."""

import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from samples import encoded, picture

from convlens.base.errors import InputError
from convlens.data import Preprocess, decode

SMALL = Preprocess((32, 32), 3)


def test_a_picture_of_108_megapixels_is_read_in_little_memory(tmp_path):
    picture = Image.new("RGB", (12000, 9000), (200, 30, 40))
    picture.paste((20, 30, 240), (6000, 0, 12000, 9000))
    picture.save(tmp_path / "phone.jpg", quality=50)
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from convlens.data import Preprocess\n"
        "small = Preprocess((32, 32), 3).prepare(sys.argv[1])\n"
        "print(*small[16, 4], *small[16, 28])\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "phone.jpg"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-1500:]
    np.testing.assert_allclose([int(value) for value in done.stdout.split()], (200, 30, 40, 20, 30, 240), atol=4)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16", "P"])
@pytest.mark.parametrize("tag", [1, 6])
def test_a_picture_that_is_converted_by_strips_has_the_pixels_of_one_that_is_not(monkeypatch, mode, tag):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 4), np.uint8)
    image = Image.fromarray(pixels, "RGBA").convert({"I;16": "L"}.get(mode, mode))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = tag
    image.save(file, "PNG", exif=exif)
    whole = Preprocess((90, 70), 3).prepare(file.getvalue())
    monkeypatch.setattr(decode, "_STRIPS_FROM", 100)
    monkeypatch.setattr(decode, "_STRIP", 1000)
    np.testing.assert_array_equal(Preprocess((90, 70), 3).prepare(file.getvalue()), whole)


def test_a_reduced_picture_is_close_to_the_picture_resized_as_a_whole(monkeypatch):
    y, x = np.mgrid[0:640, 0:800]
    pixels = np.stack([x % 256, y % 256, (x + y) // 8 % 256], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    whole = SMALL.prepare(file.getvalue()).astype(int)
    monkeypatch.setattr(decode, "_STRIPS_FROM", 100)
    monkeypatch.setattr(decode, "_REDUCED_FROM", 100)
    assert np.abs(SMALL.prepare(file.getvalue()) - whole).mean() < 3


def test_a_header_that_promises_more_than_the_file_holds_is_refused_at_once():
    tiff = bytearray(encoded(picture(0, (8, 8)), "TIFF"))
    for at in range(8, len(tiff) - 12, 2):  # width and height of the directory
        if struct.unpack_from("<H", tiff, at)[0] in (256, 257) and tiff[at + 2] in (3, 4):
            struct.pack_into("<HIL", tiff, at + 2, 4, 1, 13_000)
    with pytest.raises(InputError, match="do not hold 13000 x 13000 pixels"):
        SMALL.prepare(bytes(tiff))


@pytest.mark.parametrize(("name", "value"), [("CONVLENS_MAX_BYTES", "100"), ("CONVLENS_MAX_PIXELS", "20")])
def test_the_limits_can_be_set_and_are_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{value} .*{name}"):
        SMALL.prepare(encoded(picture(0, (8, 8)), "BMP"))
    monkeypatch.setenv(name, "many")
    with pytest.raises(InputError, match=f"{name} must be a whole number"):
        SMALL.prepare(encoded(picture(0, (8, 8)), "BMP"))
