"""Amounts for people."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import convlens
from convlens.base.words import bytes_text, duration, percent

_FACTORS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1536, "1.5 kB"), (999_960, "1.0 MB"), (5 * 10**9, "5.0 GB")],
)
def test_bytes_in_decimal_units(n, words):
    assert bytes_text(n) == words


def test_a_size_nobody_knows_is_said():
    assert bytes_text(None) == "unknown"


@given(st.integers(0, 10**17))
def test_the_text_is_the_number_of_bytes_to_its_last_digit(n):
    figure, unit = bytes_text(n).split()
    factor = _FACTORS[unit]
    assert abs(float(figure.replace(",", "")) * factor - n) <= (0.0500001 * factor if unit != "B" else 0)
    assert unit == "PB" or float(figure.replace(",", "")) < 1000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (-3, "0 s"), (8.4, "8 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (11220, "3 h 07 min")],
)
def test_durations_are_written_for_people(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(8.44, "8.4 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (125, "2 min 05 s")]
)
def test_short_durations_may_have_a_decimal(seconds, words):
    assert duration(seconds, 1) == words


def test_fractions_are_written_as_per_cent():
    assert [percent(0.97314), percent(0.97314, 0), percent(1, None), percent(0.0005, None)] == [
        "97.31 %", "97 %", "100 %", "0.05 %",
    ]  # fmt: skip
    assert percent(None) == percent(math.nan) == "–"


def test_no_room_writes_fractions_or_durations_by_hand():
    by_hand = re.compile(r":[\d.]*%\}|100 \* [\w.\[\]'\"]+:[^}]*\} %|// 60\b")
    for path in Path(convlens.__file__).parent.rglob("*.py"):
        found = by_hand.search(path.read_text())
        assert found is None or path.name == "words.py", f"{path}: {found}"
