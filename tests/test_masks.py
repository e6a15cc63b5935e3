"""Subset ensembles: balanced masks, memorization with its error by hand, probabilities out of sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import scorers
from datapruning.costs import Cost
from datapruning.errors import BadFile, BadValue
from datapruning.evidence.ensemble import Member, SubsetEnsemble, member_path, read_member, write_member
from datapruning.evidence.masks import MOST_PARTS, inside_of, parts_of

LABELS = np.random.default_rng(0).choice(4, 203, p=[0.5, 0.3, 0.15, 0.05]).astype(np.int64)


@pytest.mark.parametrize(
    ("inside", "parts"), [(0.7, (10, 3)), (0.5, (2, 1)), (0.75, (4, 1)), (0.9, (10, 1)), (1 / 3, (3, 2)), (0.05, (20, 19))]
)
def test_parts_of_a_share(inside: float, parts: tuple[int, int]) -> None:
    assert parts_of(inside) == parts


@given(st.floats(0.001, 0.999))
def test_a_share_always_leaves_some_in_and_some_out(inside: float) -> None:
    parts, out = parts_of(inside)
    assert 2 <= parts <= MOST_PARTS
    assert 0 < out < parts
    assert abs((parts - out) / parts - inside) <= 1 / MOST_PARTS


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([0.5, 0.7, 0.75, 0.9, 0.3]), st.integers(0, 3), st.integers(0, 5))
def test_in_a_whole_block_every_sample_is_outside_equally_often(inside: float, block: int, seed: int) -> None:
    parts, out = parts_of(inside)
    masks = np.array([inside_of(block * parts + place, LABELS, inside, seed) for place in range(parts)])
    np.testing.assert_array_equal((~masks).sum(0), np.full(len(LABELS), out))


@pytest.mark.parametrize("inside", [0.5, 0.7, 0.9])
def test_every_member_has_its_share_of_every_class(inside: float) -> None:
    parts, out = parts_of(inside)
    sizes = np.bincount(LABELS)
    for member in range(2 * parts):
        outside = np.bincount(LABELS[~inside_of(member, LABELS, inside, 1)], minlength=4)
        assert (np.abs(outside - sizes * out / parts) <= out).all()  # a part has floor or ceil of a class's n / parts
        floor, ceil = sizes // parts * out, -(-sizes // parts) * out
        assert (floor <= outside).all()
        assert (outside <= ceil).all()


def test_masks_are_a_pure_function_of_seed_and_member() -> None:
    masks = {(m, s): inside_of(m, LABELS, 0.7, s) for m in (0, 1, 10) for s in (0, 1)}
    for (m, s), mask in reversed(masks.items()):
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, inside_of(m, LABELS.copy(), 0.7, s))
    found = {mask.tobytes() for mask in masks.values()}
    assert len(found) == len(masks)  # members, blocks and seeds differ


def test_two_blocks_cut_the_samples_anew() -> None:
    first = [inside_of(m, LABELS, 0.7, 0).tobytes() for m in range(10)]
    assert not any(inside_of(m, LABELS, 0.7, 0).tobytes() in first for m in range(10, 20))


def ensemble_of(folder: Path, inside: object, correct: object, probs: NDArray[np.float64] | None = None) -> SubsetEnsemble:
    """Members from tables [members, N]; `probs`: [members, N, 2], of which those outside are kept."""
    masks, right = np.asarray(inside, bool), np.asarray(correct, bool)
    count, total = masks.shape
    table = np.full((count, total, 2), 0.5) if probs is None else probs
    paths = tuple(member_path(folder, k) for k in range(count))
    for k, path in enumerate(paths):
        loss = np.full(total, k, np.float32)
        outside = table[k][~masks[k]].astype(np.float16)
        write_member(path, Member(masks[k], right[k], loss, -loss, outside, np.array([True, False]), Cost(k, 2, 0.5)), k)
    return SubsetEnsemble(paths, np.zeros(total, np.int64), Cost())


def test_members_come_back_as_they_were(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((2, 13)) < 0.5  # 13: no whole number of bytes
    ensemble = ensemble_of(tmp_path, masks, ~masks)
    assert (len(ensemble), ensemble.total) == (2, 13)
    for k, member in enumerate(ensemble):
        np.testing.assert_array_equal(member.inside, masks[k])
        np.testing.assert_array_equal(member.correct, ~masks[k])
        np.testing.assert_array_equal(member.loss, np.full(13, k))
        np.testing.assert_array_equal(member.test_correct, [True, False])
        assert member.outside_probs.shape == ((~masks[k]).sum(), 2)
        assert member.cost == Cost(k, 2, 0.5)


INSIDE = [[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
CORRECT = [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]


def test_memorization_and_its_error_by_hand(tmp_path: Path) -> None:
    values, stderr = scorers.get_scorer("memorization")(ensemble_of(tmp_path, INSIDE, CORRECT))
    # right of those that saw it, and of those that did not: 2/2 0/3; 1/2 2/3; 2/2 2/3; 2/3 2/2
    np.testing.assert_allclose(values, [1, 1 / 2 - 2 / 3, 1 / 3, -1 / 3], rtol=1e-6)
    # smoothed shares (r + 1/2) / (n + 1); variance s (1 - s) / n
    two_of_two = (5 / 6) * (1 / 6) / 2
    two_of_three = (5 / 8) * (3 / 8) / 3
    expected = [two_of_two + (1 / 8) * (7 / 8) / 3, 1 / 8 + two_of_three, two_of_two + two_of_three, two_of_three + two_of_two]
    assert stderr is not None
    np.testing.assert_allclose(stderr, np.sqrt(expected), rtol=1e-6)


def test_the_order_of_members_plays_no_part(tmp_path: Path) -> None:
    ensemble = ensemble_of(tmp_path, INSIDE, CORRECT)
    turned = SubsetEnsemble(ensemble.paths[::-1], ensemble.labels, ensemble.cost)
    read = scorers.get_scorer("memorization")
    np.testing.assert_array_equal(read(ensemble)[0], read(turned)[0])


def test_an_ensemble_too_small_for_an_error_bar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"sample id 2 has 3 and 1: add members"):
        scorers.get_scorer("memorization")(
            ensemble_of(tmp_path, [[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 0]], np.ones((4, 3)))
        )


def test_probabilities_are_of_members_that_never_saw_the_sample(tmp_path: Path) -> None:
    probs = np.random.default_rng(0).random((5, 4, 1))
    table = np.concatenate([probs, 1 - probs], 2).astype(np.float16).astype(np.float64)
    table[np.asarray(INSIDE, bool)] = np.nan  # none of these may count
    found = ensemble_of(tmp_path, INSIDE, CORRECT, table).pred_probs()
    assert (found.dtype, found.shape) == (np.float32, (4, 2))
    np.testing.assert_allclose(found, np.nanmean(table, axis=0), rtol=1e-3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_a_sample_that_all_members_saw_has_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="saw sample id 1; add members"):
        ensemble_of(tmp_path, [[0, 1], [1, 1]], np.ones((2, 2))).pred_probs()


def test_a_broken_or_foreign_member_is_refused(tmp_path: Path) -> None:
    ensemble = ensemble_of(tmp_path, INSIDE, CORRECT)
    path = ensemble.paths[0]
    with pytest.raises(BadFile, match="no ensemble member of 5 samples"):
        read_member(path, 5)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadFile, match=path.name):
        scorers.get_scorer("memorization")(ensemble)
    path.unlink()
    with pytest.raises(BadFile, match=path.name):
        read_member(path, 4)
