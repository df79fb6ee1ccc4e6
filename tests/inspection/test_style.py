"""The style of all pictures: colors say numbers, zero is the middle, the caller's settings stay."""

import io
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import AxesImage
from PIL import Image

from convlens.inspection import style


def drawn(values: np.ndarray, **options) -> tuple[AxesImage, list[str]]:
    """The image of a map, and the numbers at its color bar."""
    with style.styled():
        figure, axes = style.sheet(1, 1)
        style.show_map(axes[0, 0], values, **options)
        (_, bar) = figure.axes
        return axes[0, 0].images[0], [label.get_text() for label in bar.get_yticklabels()]


def test_zero_is_the_middle_of_a_diverging_map_and_white():
    image, labels = drawn(np.array([[-1.0, 0.0], [0.5, 3.0]]))
    assert image.get_clim() == (-3, 3)
    assert labels == ["−3", "0", "3"]
    middle = image.to_rgba(np.zeros((1, 1)))[0, 0, :3]
    assert middle.min() > 0.96


def test_what_cannot_be_negative_begins_at_zero():
    image, labels = drawn(np.array([[0.2, 0.4]]))
    assert image.get_clim() == (0, 0.4)
    assert labels == ["0", "0.2", "0.4"]


def test_a_map_of_zeros_is_not_blown_up():
    image, labels = drawn(np.zeros((2, 2)))
    assert image.get_clim() == (0, 1)
    assert labels == ["0", "0.5", "1"]
    rounding, _ = drawn(np.full((2, 2), 1e-12), limit=0.5)
    assert rounding.get_clim() == (0, 0.5)


@pytest.mark.parametrize("name", [style.SEQUENTIAL, style.DIVERGING])
def test_colors_are_told_apart_by_those_who_see_no_red_or_no_green(name):
    """Each step of the color map is a step of lightness or of blue against yellow, which they see."""
    colors = mpl.colormaps[name](np.linspace(0, 1, 9))[:, :3]
    for kind in (_WITHOUT_RED, _WITHOUT_GREEN):
        seen = colors @ np.asarray(kind).T
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert distances[~np.eye(9, dtype=bool)].min() > 0.07


# Viénot, Brettel and Mollon (1999): what remains of red, green and blue
_WITHOUT_RED = ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1))
_WITHOUT_GREEN = ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1))


def test_the_callers_settings_neither_count_nor_change():
    with mpl.rc_context({"font.size": 31, "image.cmap": "jet", "axes.facecolor": "black"}):
        before = dict(mpl.rcParams)
        with style.styled():
            assert mpl.rcParams["font.size"] < 12
            figure, axes = style.sheet(1, 1)
            style.show_map(axes[0, 0], np.ones((2, 2)))
        style.png(figure)
        assert dict(mpl.rcParams) == before


def test_names_are_shown_as_they_are_and_obeyed_by_nobody():
    with style.styled():
        figure, axes = style.sheet(1, 1)
        style.title(axes[0, 0], "$x_1$ \x1b[2J 猫 🦊")
        style.show_picture(axes[0, 0], np.zeros((4, 4, 3), np.uint8))
    assert axes[0, 0].get_title() == "$x_1$ \\x1b[2J 猫 🦊"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = Image.open(io.BytesIO(style.png(figure)))
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)


def test_the_same_figure_is_the_same_file():
    files = []
    for _ in range(2):
        with style.styled():
            figure, axes = style.sheet(1, 2)
            style.show_map(axes[0, 1], np.eye(3))
        files.append(style.png(figure))
    assert files[0] == files[1]
