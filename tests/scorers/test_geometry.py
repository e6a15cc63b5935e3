"""Scorers of embeddings against brute force on a few points, and nearest neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from datapruning import scorers
from datapruning.errors import InvalidValue
from tests.helpers.evidence_cases import make_embeddings

Points = NDArray[np.float16]


def points_of(seed: int, count: int, width: int = 3) -> Points:
    """Make random points that are distinct in float16."""
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float16)


def herding_order(points: NDArray[np.float64]) -> list[int]:
    """Pick the point that brings the mean of the picked points nearest to the mean of all."""
    mean, picked = points.mean(0), list[int]()
    while len(picked) < len(points):
        remaining = [k for k in range(len(points)) if k not in picked]
        gaps = [float(np.linalg.norm(points[[*picked, k]].mean(0) - mean)) for k in remaining]
        picked.append(remaining[int(np.argmin(gaps))])
    return picked


def k_center_order(points: NDArray[np.float64]) -> list[int]:
    """Pick the point nearest to the mean, then repeatedly the point farthest from all picked ones."""
    picked = [int(np.linalg.norm(points - points.mean(0), axis=1).argmin())]
    while len(picked) < len(points):
        remaining = [k for k in range(len(points)) if k not in picked]
        gaps = [min(float(np.linalg.norm(points[k] - points[other])) for other in picked) for k in remaining]
        picked.append(remaining[int(np.argmax(gaps))])
    return picked


ORDERS = {"herding": herding_order, "k-center": k_center_order}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("seed", range(5))
def test_greedy_orders_by_brute_force(name: str, seed: int) -> None:
    points = points_of(seed, 6)
    values, stderr = scorers.get_scorer(name)(make_embeddings(points))
    assert list(np.argsort(-values)) == ORDERS[name](points.astype(np.float64))
    np.testing.assert_allclose(np.sort(values), np.arange(1, 7) / 6, rtol=1e-6)
    assert stderr is None


@pytest.mark.parametrize("name", ORDERS)
def test_greedy_orders_are_made_in_each_class(name: str) -> None:
    points, labels = points_of(9, 10), np.array([1, 0, 1, 1, 0, 1, 1, 0, 1, 0])
    values, _ = scorers.get_scorer(name)(make_embeddings(points, labels))
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        assert list(np.argsort(-values[members])) == ORDERS[name](points[members].astype(np.float64))
        np.testing.assert_allclose(np.sort(values[members]), np.arange(1, len(members) + 1) / len(members), rtol=1e-6)


def test_k_center_takes_equal_points_last() -> None:
    points = [[0, 0], [0, 0], [0, 0], [4, 0], [-4, 0], [0, 5]]
    order = np.argsort(-scorers.get_scorer("k-center")(make_embeddings(points))[0], kind="stable")
    assert sorted(order[:4]) == [0, 3, 4, 5]
    assert sorted(order[4:]) == [1, 2]


def test_moderate_ranks_distances_to_the_median_over_all_classes() -> None:
    points = [[0], [1], [2], [4], [8], [100], [103], [107]]
    labels = [0, 0, 0, 0, 0, 1, 1, 1]
    # medians 2 and 103; distances 2 1 0 2 6 | 3 0 4; ranks (ties by id) 3 2 0 4 7 | 5 1 6; the middle one is 3.5
    values, _ = scorers.get_scorer("moderate")(make_embeddings(points, labels))
    np.testing.assert_allclose(values, [-0.5, -1.5, -3.5, -0.5, -3.5, -1.5, -2.5, -2.5])


def test_knn_is_the_fraction_of_agreeing_neighbours() -> None:
    points, labels = points_of(4, 25), np.random.default_rng(4).integers(0, 3, 25)
    directions = points.astype(np.float64) / np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1)[:, :10]
    expected = [np.mean([labels[k] == labels[i] for k in nearest[i]]) for i in range(25)]
    np.testing.assert_allclose(scorers.get_scorer("knn")(make_embeddings(points, labels))[0], expected, rtol=1e-6)


def test_knn_of_few_samples_reads_all_others() -> None:
    values, _ = scorers.get_scorer("knn")(make_embeddings(points_of(0, 4), [0, 0, 0, 1]))
    np.testing.assert_allclose(values, [2 / 3, 2 / 3, 2 / 3, 0], rtol=1e-6)


def test_duplicates_keep_the_smallest_id_of_a_group() -> None:
    points = [[1, 0], [0, 2], [3, 0], [-1, 0], [5, 0], [1, 1]]
    values, _ = scorers.get_scorer("duplicates")(make_embeddings(points))
    # cosines to the nearest earlier one: none, 0, 1 (id 0), 0 (id 1; -1 to ids 0 and 2), 1, 1/sqrt(2)
    np.testing.assert_allclose(values, [1, 0, -1, 0, -1, -math.sqrt(0.5)], atol=1e-6)


@pytest.mark.parametrize("group", [2, 30, 300])
def test_any_number_of_copies_ranks_last(group: int) -> None:
    points = points_of(5, 400, 8)
    ids = np.sort(np.random.default_rng(group).choice(400, group, replace=False))
    points[ids] = points[ids[0]]
    values, _ = scorers.get_scorer("duplicates")(make_embeddings(points))
    np.testing.assert_array_equal(values[ids[1:]], -1)
    unique_ids = np.setdiff1d(np.arange(400), ids[1:])
    assert values[unique_ids].min() > -1
    np.testing.assert_array_equal(
        values[unique_ids], scorers.get_scorer("duplicates")(make_embeddings(points[unique_ids]))[0]
    )


def test_one_sample_and_equal_samples_have_scores() -> None:
    read = scorers.get_scorer("duplicates")
    np.testing.assert_array_equal(read(make_embeddings([[1, 2]]))[0], [1])
    np.testing.assert_array_equal(read(make_embeddings([[0.0, 1], [-0.0, 1], [0, 1]]))[0], [1, -1, -1])


def test_herding_takes_the_lower_id_of_equals() -> None:
    values, _ = scorers.get_scorer("herding")(make_embeddings([[1], [-1], [1], [-1]]))
    np.testing.assert_allclose(values, [1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("seed", range(5))
def test_prototypicality_of_two_well_separated_clusters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = np.repeat(np.array([[9.0, 0, 0, 0], [0, 9, 0, 0]]), 15, axis=0)
    points = (axes + rng.normal(size=(30, 4))).astype(np.float16)
    directions = points.astype(np.float64) / np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    expected = np.empty(30)
    for cluster in (slice(0, 15), slice(15, 30)):
        centre = directions[cluster].sum(0)
        expected[cluster] = 1 - directions[cluster] @ (centre / np.linalg.norm(centre))
    # labels say how many prototypes there are, and nothing else: here they cut across the clusters
    values, _ = scorers.get_scorer("prototypicality")(make_embeddings(points, np.arange(30) % 2, seed))
    np.testing.assert_allclose(values, expected, atol=2e-6)


@pytest.mark.parametrize("k", [1, 3, 9, 11])
def test_neighbours_by_brute_force(k: int) -> None:
    points = points_of(7, 12)
    lengths = np.linalg.norm(points.astype(np.float64), axis=1)
    similar, nearest = make_embeddings(points).neighbours(k)
    for i in range(12):
        cosines = {
            j: float(points[i].astype(np.float64) @ points[j].astype(np.float64)) / (lengths[i] * lengths[j])
            for j in range(12)
            if j != i
        }
        expected = sorted(cosines, key=lambda j: (-cosines[j], j))[:k]
        assert list(nearest[i]) == expected
        np.testing.assert_allclose(similar[i], [cosines[j] for j in expected], atol=1e-6)


def test_equal_neighbours_are_ordered_by_id() -> None:
    _, nearest = make_embeddings([[1, 0], [2, 0], [4, 0], [0, 1]]).neighbours(3)
    np.testing.assert_array_equal(nearest, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


@pytest.mark.parametrize("name", ["herding", "k-center", "moderate", "knn"])
@pytest.mark.parametrize("seed", range(3))
def test_permuting_the_samples_permutes_the_scores(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, labels, order = points_of(seed, 40), rng.integers(0, 3, 40), rng.permutation(40)
    read = scorers.get_scorer(name)
    values, _ = read(make_embeddings(points, labels))
    np.testing.assert_array_equal(read(make_embeddings(points[order], labels[order]))[0], values[order])


def test_scaling_a_sample_changes_no_direction() -> None:
    points = points_of(2, 20)
    scaled = points * np.float16(2)
    for name in ("knn", "duplicates", "prototypicality"):
        labels = np.arange(20) % 2
        values = [scorers.get_scorer(name)(make_embeddings(item, labels))[0] for item in (points, scaled)]
        np.testing.assert_allclose(values[0], values[1], atol=1e-6)


def test_a_sample_without_features_gives_no_nan() -> None:
    points = np.concatenate([np.zeros((1, 3), np.float16), points_of(3, 11)])
    labels = np.arange(12) % 2
    assert np.isfinite(make_embeddings(points).neighbours(2)[0]).all()
    for name in ("herding", "k-center", "moderate", "knn", "duplicates", "prototypicality"):
        assert np.isfinite(scorers.get_scorer(name)(make_embeddings(points, labels))[0]).all()


def test_embeddings_of_no_width_are_refused() -> None:
    with pytest.raises(InvalidValue, match="at least one number a sample"):
        make_embeddings(np.empty((4, 0)))


def test_embeddings_and_labels_of_different_numbers_are_refused() -> None:
    with pytest.raises(InvalidValue, match="4 embeddings came with 3 labels"):
        make_embeddings(points_of(0, 4), [0, 0, 1])


@pytest.mark.parametrize("k", [0, 6, 7])
def test_neighbours_outside_the_data_are_refused(k: int) -> None:
    with pytest.raises(InvalidValue, match=f"each of 6 samples has 5 others; the {k} nearest"):
        make_embeddings(points_of(0, 6)).neighbours(k)
