"""The kept fraction, parsed exactly as it is written."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapruning.errors import InvalidValue
from datapruning.utils.fraction import describe_kept, kept_count, parse_fraction


@given(st.integers(1, 10**9), st.integers(0, 9), st.integers(0, 10**7))
def test_the_kept_count_is_the_exactly_rounded_fraction(digits: int, places: int, total: int) -> None:
    exact = Fraction(digits, 10**places)
    text = f"{digits}e-{places}"
    if exact > 1:
        with pytest.raises(InvalidValue):
            kept_count(text, total)
    else:
        assert kept_count(text, total) == math.floor(exact * total + Fraction(1, 2))


@given(st.floats(0, 1, exclude_min=True), st.integers(1, 10**6))
def test_a_float_means_what_it_prints(fraction: float, total: int) -> None:
    assert kept_count(fraction, total) == kept_count(repr(fraction), total) == kept_count(parse_fraction(fraction), total)


@given(st.integers(1, 10**6), st.fractions(0, 1), st.fractions(0, 1))
def test_a_larger_fraction_never_keeps_less(total: int, a: Fraction, b: Fraction) -> None:
    assert kept_count(min(a, b), total) <= kept_count(max(a, b), total)


@pytest.mark.parametrize(
    ("fraction", "total", "kept"),
    [(0.29, 50, 15), ("0.29", 50, 15), (0.145, 100, 15), (0.3, 1438, 431), (1, 7, 7), (0.001, 10, 0)],
)
def test_decimal_halves_round_up(fraction: float | str, total: int, kept: int) -> None:
    assert kept_count(fraction, total) == kept


@pytest.mark.parametrize(
    ("text", "exact"), [("1", 1), (1, 1), (0.3, "3/10"), ("1e-1", "1/10"), ("1/3", "1/3"), (" 0.5 ", "1/2")]
)
def test_fractions_are_exact(text: float | str, exact: int | str) -> None:
    assert parse_fraction(text) == Fraction(exact)


@pytest.mark.parametrize(
    "text",
    [0, -1, 1.5, "0", "-0.1", "1.0000000000000000001", "nan", float("nan"), "inf", "-inf", "", " ", "x", "1/0", "30%", True],
)
def test_anything_else_is_refused(text: float | str) -> None:
    with pytest.raises(InvalidValue, match="0 < fraction <= 1"):
        parse_fraction(text)


@pytest.mark.parametrize("text", ["1e999999999", "-1e999999999", "1e-999999999"])
def test_huge_exponents_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_fraction(text)


def test_a_percentage_gets_a_hint() -> None:
    with pytest.raises(InvalidValue, match=r"did you mean 0\.3\?"):
        parse_fraction(30)


def test_messages_state_both_numbers() -> None:
    assert describe_kept(25_000, 50_000) == "keeping 25,000 of 50,000"
