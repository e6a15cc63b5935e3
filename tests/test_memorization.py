"""Subset ensembles: memorization with its error by hand, probabilities out of sample, members on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import scorers
from datapruning.costs import Cost
from datapruning.errors import BadFile, BadValue
from datapruning.evidence.ensemble import Member, SubsetEnsemble, member_path, read_member, write_member


def ensemble_of(
    folder: Path, inside: object, correct: object, probs: NDArray[np.float64] | None = None, margins: object = None
) -> SubsetEnsemble:
    """Members from tables [members, N]; `probs`: [members, N, 2], of which those outside are kept."""
    masks, right = np.asarray(inside, bool), np.asarray(correct, bool)
    count, total = masks.shape
    table = np.full((count, total, 2), 0.5) if probs is None else probs
    paths = tuple(member_path(folder, k) for k in range(count))
    for k, path in enumerate(paths):
        loss = np.full(total, k, np.float32)
        outside = table[k][~masks[k]].astype(np.float16)
        margin = -loss if margins is None else np.asarray(margins, np.float32)[k]
        write_member(path, Member(masks[k], right[k], loss, margin, outside, np.array([True, False]), Cost(k, 2, 0.5)), k)
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


MARGINS = [[9, -2, 9, 9], [9, 9, 4, 9], [-1, 9, 9, 0], [0, 0, 5, 1], [1, 2, 6, 9]]  # 9: trained on, not to be read


def test_memorization_and_its_error_by_hand(tmp_path: Path) -> None:
    values, stderr = scorers.get_scorer("memorization")(ensemble_of(tmp_path, INSIDE, CORRECT, margins=MARGINS))
    # margins outside (-1 0 1) (-2 0 2) (4 5 6) (0 1): deviations 1, 2, 1, 0.71, the median 1; the ramp is margin / 3 + 1/2
    # in 0..1: (1/6 1/2 5/6) (0 1/2 1) (1 1 1) (1/2 5/6)
    np.testing.assert_allclose(values, [1 / 2, 1 / 2, 0, 1 / 3], rtol=1e-6, atol=1e-7)
    assert stderr is not None
    variances, counts = np.array([1 / 9, 1 / 4, 0, 1 / 18]), np.array([3, 3, 3, 2])
    np.testing.assert_allclose(stderr, np.sqrt((variances + 0.25 / (counts + 1)) / (counts + 1)), rtol=1e-5)


def test_the_order_of_members_plays_no_part(tmp_path: Path) -> None:
    ensemble = ensemble_of(tmp_path, INSIDE, CORRECT, margins=MARGINS)
    turned = SubsetEnsemble(ensemble.paths[::-1], ensemble.labels, ensemble.cost)
    read = scorers.get_scorer("memorization")
    np.testing.assert_allclose(read(ensemble)[0], read(turned)[0], rtol=1e-6)


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
