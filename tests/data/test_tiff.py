"""Damaged TIFFs: one reason each, and nothing of libtiff's own on stderr."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from convlens.base.errors import InputError
from convlens.data.decode import open_image, upright
from convlens.data.tiff import _setters, quiet_libtiff

pytestmark = pytest.mark.skipif(not _setters(), reason="the library is linked into Pillow")


def damaged() -> bytes:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    file = io.BytesIO()
    image.save(file, "TIFF", compression="tiff_lzw")
    content = bytearray(file.getvalue())
    content[20:40] = bytes(byte ^ 255 for byte in content[20:40])
    return bytes(content)


def written(capfd) -> str:
    return "".join(capfd.readouterr())


def test_a_damaged_tiff_is_one_reason_and_no_line_of_the_library(capfd):
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(damaged())).load()
    assert "code" in written(capfd)  # what it writes if it may
    with pytest.raises(InputError, match="damaged, it cannot be decoded"):
        upright(open_image(damaged()), 1)
    assert written(capfd) == ""
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(damaged())).load()
    assert "code" in written(capfd)  # as before


def test_the_library_stays_quiet_until_the_last_thread_is_out(capfd):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with quiet_libtiff():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    with quiet_libtiff():
        pass
    with pytest.raises(OSError, match="decoder error"):
        Image.open(io.BytesIO(damaged())).load()
    assert written(capfd) == ""
    leave.set()
    thread.join()
