"""The classic image kernels."""

import numpy as np
from checking import assert_close

from convlens import ops


def test_image_kernels_do_what_their_names_say():
    sums = {name: kernel.sum() for name, kernel in ops.kernels.ALL.items()}
    ones = {"identity", "sharpen", "box blur", "gaussian blur", "gaussian blur 5x5", "emboss"}
    assert {name for name, total in sums.items() if abs(total - 1) < 1e-12} == ones
    assert all(abs(total) < 1e-12 for name, total in sums.items() if name not in ones)
    ramp = np.arange(9.0).reshape(3, 3)
    assert (ops.kernels.SOBEL_X * ramp).sum() == 8
    assert (ops.kernels.SOBEL_Y * ramp).sum() == 24
    assert_close(ops.kernels.GAUSSIAN_BLUR, np.outer([1, 2, 1], [1, 2, 1]) / 16)
