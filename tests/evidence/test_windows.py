"""Sliding windows against numpy, window by window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.evidence.dynamics import window_means, window_squares, window_std


@settings(max_examples=50)
@given(st.integers(1, 30), st.data())
def test_windows_equal_numpy(rows: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, rows))
    offset = data.draw(st.sampled_from([0.0, 1.0, 1000.0]))
    values = np.random.default_rng(rows).random((rows, 3)) + offset
    item = [values[k : k + length] for k in range(rows - length + 1)]
    np.testing.assert_allclose(window_means(values, length), [w.mean(0) for w in item], rtol=1e-12)
    np.testing.assert_allclose(
        window_squares(values, length), [((w - w.mean(0)) ** 2).sum(0) for w in item], rtol=1e-9, atol=1e-9
    )
    deviations = [w.std(0, ddof=1) if length > 1 else np.zeros(3) for w in item]
    np.testing.assert_allclose(window_std(values, length), deviations, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e-30])
def test_what_never_moves_has_no_deviation(value: float) -> None:
    assert window_std(np.full((20, 2), value), 10).max() < 1e-15
