"""Intervals of shares against published numbers."""

from __future__ import annotations

import pytest

from datapruning.utils.intervals import wilson_interval


@pytest.mark.parametrize(
    ("correct", "count", "expected"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (29, 29, (0.8830, 1.0))],
)
def test_wilson_s_intervals_of_known_cases(correct: int, count: int, expected: tuple[float, float]) -> None:
    """Newcombe 1998, table I, method 3."""
    assert wilson_interval(correct, count) == pytest.approx(expected, abs=5e-5)
