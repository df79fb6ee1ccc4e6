"""Line charts as SVG."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.report.charts import Series, line_chart, log_ticks, ticks


def _chart(values, **options) -> ET.Element:
    epochs = range(1, len(values) + 1)
    return ET.fromstring(line_chart([Series("x", "a", epochs, values)], "Loss", form="{:g}".format, **options))


def _points(svg: ET.Element) -> list[tuple[float, float]]:
    (path,) = svg.findall("path")
    pairs = [pair.split() for pair in re.split("[ML]", path.attrib["d"])[1:]]
    return [(float(x), float(y)) for x, y in pairs]


def test_points_keep_their_proportions():
    (x0, y0), (x1, y1), (x2, y2) = _points(_chart([1.0, 3.0, 2.0]))
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 < y2 < y0  # SVG counts from the top
    assert y0 - y2 == pytest.approx(y2 - y1, abs=0.2)


def test_a_logarithmic_scale_makes_equal_ratios_equal_distances():
    (_, y0), (_, y1), (_, y2) = _points(_chart([100.0, 10.0, 1.0], log=True))
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)


def test_each_point_tells_its_value_and_many_points_do_not():
    titles = [title.text for title in _chart([0.5, 0.25]).iter("title")]
    assert titles == ["x, epoch 1: 0.5", "x, epoch 2: 0.25"]
    assert not list(_chart([1 / n for n in range(1, 100)]).iter("title"))


def test_the_description_names_first_and_last_value():
    assert _chart([0.5, 0.4, 0.25]).get("aria-label") == "Loss by epoch. x from 0.5 to 0.25."


def test_values_that_are_not_finite_are_left_out():
    assert len(_points(_chart([1.0, math.nan, 2.0, math.inf]))) == 2
    assert line_chart([Series("x", "a", [1], [math.nan])], "Loss", form=str) == ""


def test_the_mark_stands_at_its_epoch():
    svg = _chart([3.0, 2.0, 1.0], mark=2)
    (mark,) = [line for line in svg.findall("line") if line.get("class") == "mark"]
    assert float(mark.attrib["x1"]) == pytest.approx(_points(svg)[1][0], abs=0.1)
    assert not [line for line in _chart([1.0], mark=9).findall("line") if line.get("class") == "mark"]


def test_names_are_escaped():
    text = line_chart([Series("<b>", '"><x', [1], [1.0])], "<script>", form=str)
    assert "<script" not in text
    assert "<b>" not in text
    ET.fromstring(text)


def test_one_point_and_equal_values_make_a_chart():
    assert len(_points(_chart([0.0]))) == 1
    assert len(_points(_chart([5.0, 5.0]))) == 2
    assert len(_points(_chart([1.0, 1.0], log=True))) == 2


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), about=st.integers(2, 8))
@settings(deadline=None, max_examples=100)
def test_ticks_cover_the_range_with_a_readable_number_of_round_steps(low, span, about):
    found = ticks(low, low + span, about)
    slack = (found[1] - found[0]) * 1e-6
    assert found[0] <= low + slack
    assert found[-1] >= low + span - slack
    assert 2 <= len(found) <= about + 3
    step = (found[-1] - found[0]) / (len(found) - 1)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-3


@given(low=st.floats(1e-12, 1e3), ratio=st.floats(21, 1e15))
@settings(deadline=None, max_examples=60)
def test_logarithmic_ticks_lie_in_the_range(low, ratio):
    found = log_ticks(low, low * ratio)
    assert all(low <= tick <= low * ratio for tick in found)
    assert 2 <= len(found) <= 9
    assert found == sorted(found)
