"""Arrays as pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from convlens.inspection import pictures


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_comes_back_as_it_was(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    found = np.array(Image.open(io.BytesIO(pictures.png(pixels)))).reshape(pixels.shape)
    np.testing.assert_array_equal(found, pixels)


def test_a_jpeg_is_close_to_what_it_was():
    y, x = np.mgrid[0:32, 0:48]
    pixels = np.stack([x * 5, y * 7, x + y], axis=-1).astype(np.uint8)
    found = np.array(Image.open(io.BytesIO(pictures.jpeg(pixels, 95)))).astype(int)
    assert np.abs(found - pixels).mean() < 4


def test_a_grid_holds_each_picture_once_in_reading_order():
    pixels = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    sheet = pictures.grid(pixels, columns=3, gap=1, background=99)
    assert sheet.shape == (5, 11, 1)
    for i in range(5):
        top, left = i // 3 * 3, i % 3 * 4
        assert (sheet[top : top + 2, left : left + 3] == i).all()
    assert (sheet[2] == 99).all()
    assert (sheet[3:, 8:] == 99).all()


@pytest.mark.parametrize(("n", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4)])
def test_a_grid_is_about_square(n, side):
    assert pictures.grid(np.zeros((n, 4, 4, 1), np.uint8), gap=0).shape[1] == side * 4


def test_kernels_are_gray_at_zero_and_reach_black_or_white():
    weight = np.zeros((2, 3, 5, 5), np.float32)
    weight[0, 1, 2, 2], weight[0, 0, 0, 0], weight[1, 2, 4, 4] = 0.5, -0.25, -2.0
    found = pictures.kernels(weight)
    assert found.shape == (2, 5, 5, 3)
    assert found[0, 2, 2, 1] == 255
    assert found[0, 0, 0, 0] == 64
    assert found[1, 4, 4, 2] == 0
    assert found[1, 0, 0, 0] == 128
    assert pictures.kernels(weight[:, :2]).shape == (4, 5, 5, 1)


def test_a_kernel_of_zeros_or_of_nan_is_gray():
    weight = np.stack([np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan)])
    assert (pictures.kernels(weight) == 128).all()
