"""Masks of a subset ensemble: balanced in every complete block, a pure function of seed and member."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.evidence.subset_masks import member_mask, num_parts


@pytest.mark.parametrize(
    ("inside", "expected"),
    [(0.7, (10, 3)), (0.5, (2, 1)), (0.75, (4, 1)), (1 / 3, (3, 2)), (0.05, (20, 19)), (0.95, (20, 1)), (0.9, (10, 1))],
)
def test_parts_are_the_nearest_fraction_of_at_most_twenty(inside: float, expected: tuple[int, int]) -> None:
    assert num_parts(inside) == expected
    parts, out = expected
    nearest = min(abs(inside - k / n) for n in range(2, 21) for k in range(1, n))
    assert abs(inside - (parts - out) / parts) == pytest.approx(nearest, abs=1e-12)


@pytest.mark.parametrize("inside", [0.0, 0.001, 0.999, 1.0])
def test_every_mask_has_included_and_held_out_samples(inside: float) -> None:
    parts, out = num_parts(inside)
    assert 0 < out < parts <= 20


@settings(max_examples=30)
@given(st.integers(20, 300), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_each_sample_is_held_out_equally_often_in_a_block(total: int, inside: float, seed: int, block: int) -> None:
    labels = np.random.default_rng(total).integers(0, 7, total)
    parts, out = num_parts(inside)
    members = [member_mask(block * parts + index, labels, inside, seed) for index in range(parts)]
    np.testing.assert_array_equal(np.sum(members, 0), parts - out)
    for member in members:
        assert member.dtype == bool
        for label in np.unique(labels):  # parts of a class differ by one sample at most
            in_class = labels == label
            assert abs(int(member[in_class].sum()) - in_class.sum() * (parts - out) / parts) < min(out, parts - out) + 1


def test_a_mask_is_a_pure_function_of_all_its_arguments() -> None:
    labels = np.arange(500) % 5
    masks = [member_mask(3, labels, 0.7, 0) for _ in range(2)]
    np.testing.assert_array_equal(*masks)
    others = [member_mask(4, labels, 0.7, 0), member_mask(13, labels, 0.7, 0), member_mask(3, labels, 0.7, 1)]
    for other in others:
        assert 0.3 < (masks[0] == other).mean() < 0.8


def test_masks_of_two_blocks_are_as_good_as_independent() -> None:
    labels = np.zeros(20_000, np.int64)
    overlap = np.mean([member_mask(k, labels, 0.7, 0) & member_mask(10 + k, labels, 0.7, 0) for k in range(10)])
    assert overlap == pytest.approx(0.49, abs=0.01)


def test_remainders_of_small_classes_are_spread_over_members() -> None:
    labels = np.repeat(np.arange(200), 3)  # three of each class, ten parts
    sizes = [int(member_mask(k, labels, 0.7, 0).sum()) for k in range(10)]
    assert sum(sizes) == 7 * len(labels)
    assert max(sizes) - min(sizes) < 60  # 420 on average
