"""D2: the graph, the messages and the greedy picks, by hand and against a slow reference."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.errors import InvalidValue, MissingPackage
from datapruning.selection.graph import nearest, neighbour_graph
from datapruning.selection.select import select
from datapruning.selection.strategies.d2 import forward, greedy
from tests.helpers.strategy_cases import FakeEvidence, kept_ids, make_case, make_scores

LINE = np.array([[0], [1], [3], [10]], np.float16)
"""With k=1: 0 and 1 choose each other, 2 chooses 1, 3 chooses 2. Edges: 0-1 (1), 1-2 (2), 2-3 (7)."""
VALUES = np.array([1.0, 2.0, 4.0, 3.0])


def edges(graph: Any) -> dict[tuple[int, int], float]:
    """Return {(source, target): length}."""
    pairs = zip(graph.sources.tolist(), graph.ends.tolist(), strict=True)
    return dict(zip(pairs, graph.lengths.tolist(), strict=True))


def slow(features: Any, values: Any, k: int, gamma: float) -> list[int]:
    """Compute D2 with full matrices and no heap."""
    points = features.astype(np.float64)
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))
    np.fill_diagonal(apart, 1e9)
    joined = np.zeros(apart.shape, bool)
    for i, row in enumerate(apart):
        joined[i, np.argsort(row, kind="stable")[:k]] = True
    joined |= joined.T
    spread = values + np.where(joined, np.exp(-apart), 0) @ values
    order: list[int] = []
    while len(order) < len(values):
        pick = int(np.argmax(np.where(np.isin(np.arange(len(values)), order), -np.inf, spread)))
        order.append(pick)
        spread = spread - np.where(joined[pick], np.exp(-gamma * apart[pick]), 0) * spread[pick]
    return order


def test_the_graph_joins_both_if_either_chose_the_other() -> None:
    one_way = {(0, 1): 1.0, (1, 2): 2.0, (2, 3): 7.0}
    assert edges(neighbour_graph(LINE, 1)) == {**one_way, **{(b, a): length for (a, b), length in one_way.items()}}


def test_messages_by_hand() -> None:
    spread = forward(neighbour_graph(LINE, 1), VALUES)
    e = np.exp([-1.0, -2.0, -7.0])
    assert spread == pytest.approx([1 + 2 * e[0], 2 + e[0] + 4 * e[1], 4 + 2 * e[1] + 3 * e[2], 3 + 4 * e[2]])
    assert spread == pytest.approx([1.735759, 2.909220, 4.273406, 3.003648], abs=1e-6)


def test_picks_by_hand() -> None:
    """2 first (4.27). It takes exp(-1) * 4.27 from 1, which falls to 1.34, and 0.13 from 3, which stays at 2.87; then 0."""
    assert kept_ids("d2", VALUES, 4, LINE, k=1, gamma=0.5) == [2, 3, 0, 1]
    assert kept_ids("top", VALUES, 4) == [2, 3, 1, 0], "what the messages changed"


def test_a_negative_pick_raises_its_neighbours() -> None:
    graph = neighbour_graph(np.array([[0], [1], [2]], np.float16), 1)  # 0-1-2
    # 0 takes all of itself from 1: 1 - 5 = -4; 2 is -6. Then 1 (-4) takes -4 from 2: -6 + 4 = -2.
    assert greedy(graph, np.array([5.0, 1.0, -6.0]), 0.0, 3).tolist() == [0, 1, 2]
    assert greedy(graph, np.array([5.0, 4.0, -6.0]), 0.0, 3).tolist() == [0, 1, 2]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 6), st.sampled_from([0.0, 0.1, 1.0]))
def test_it_picks_what_the_slow_copy_picks(seed: int, count: int, k: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    features, values = rng.normal(size=(count, 3)).astype(np.float16), rng.gamma(1, 1, count)
    k = min(k, count - 1)
    order = slow(features, values, k, gamma)
    assert kept_ids("d2", values, count, features, k=k, gamma=gamma) == order
    assert kept_ids("d2", values, count // 2, features, k=k, gamma=gamma) == order[: count // 2]


def test_neighbours_are_exact_far_from_the_origin() -> None:
    rng = np.random.default_rng(0)
    points = (1000 + rng.normal(size=(200, 8))).astype(np.float16)
    lengths, neighbours = nearest(points, 4)
    apart = np.sqrt(((points.astype(np.float64)[:, None] - points.astype(np.float64)[None]) ** 2).sum(2))
    np.fill_diagonal(apart, np.inf)
    assert np.array_equal(lengths, np.sort(apart, 1)[:, :4])
    assert np.array_equal(np.take_along_axis(apart, neighbours, 1), lengths)


def test_samples_that_are_all_alike_have_neighbours_but_not_themselves() -> None:
    lengths, neighbours = nearest(np.ones((30, 2), np.float16), 5)
    assert not (neighbours == np.arange(30)[:, None]).any()
    assert not lengths.any()
    assert len(kept_ids("d2", np.arange(30), 9, np.ones((30, 2)))) == 9


def test_a_picked_sample_suppresses_its_cluster() -> None:
    features = np.array([[0.0], [0.01], [0.02], [50.0], [50.01], [50.02]])
    assert kept_ids("top", [5, 4.9, 4.8, 3, 2.9, 2.8], 2) == [0, 1]
    assert kept_ids("d2", [5, 4.9, 4.8, 3, 2.9, 2.8], 2, features, k=2) == [1, 4], "the middle one of each"


def test_scores_below_zero_are_raised_to_zero() -> None:
    values = np.array([-4.0, -3.0, -1.0, -2.0])
    assert kept_ids("d2", values, 4, LINE, k=2) == kept_ids("d2", values + 4, 4, LINE, k=2)


@pytest.mark.parametrize("k", [10, 11, 1000])
def test_as_many_neighbours_as_samples_are_refused(k: int) -> None:
    case = make_case(10)
    with pytest.raises(InvalidValue, match=f"k={k} neighbours, but there are 10 samples; the most is 9"):
        select(case.scores, 0.5, strategy="d2", settings={"k": k}, evidence=case.evidence)
    select(case.scores, 0.5, strategy="d2", settings={"k": 9}, evidence=case.evidence)


def test_in_a_class_that_is_smaller_all_others_are_neighbours() -> None:
    case = make_case(20)
    labels = np.repeat([0, 1, 2], [16, 3, 1])
    subset = select(
        case.scores, 0.5, strategy="d2", settings={"k": 9}, balance="class", labels=labels, evidence=case.evidence
    )
    assert np.bincount(labels[subset.indices]).tolist() == [8, 2, 1]


@pytest.mark.parametrize("features", [np.zeros((10, 0), np.float16), np.zeros(10, np.float16)])
def test_embeddings_of_width_zero_are_refused(features: Any) -> None:
    with pytest.raises(InvalidValue, match="a width of at least 1"):
        select(make_scores(np.arange(10)), 0.5, strategy="d2", evidence=FakeEvidence(np.zeros(10), features))


def test_without_faiss_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    case = make_case(20)
    with pytest.raises(MissingPackage, match="install faiss-cpu"):
        select(case.scores, 0.5, strategy="d2", evidence=case.evidence)
