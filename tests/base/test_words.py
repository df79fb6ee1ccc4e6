"""Amounts for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.base.words import bytes_text

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
