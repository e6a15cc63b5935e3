"""D2: difficulty spread over a graph of neighbours, then picked greedily, each pick lowering its neighbourhood."""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.selection.graph import Graph, neighbour_graph
from datapruning.selection.strategy import Pool, Positions, Setting, Strategy


def forward(graph: Graph, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each score plus those of its neighbours times exp(-distance), float64 [n]."""
    messages = np.exp(-graph.lengths) * values[graph.ends]
    return values + np.bincount(graph.sources, weights=messages, minlength=len(values))


def greedy(graph: Graph, spread: NDArray[np.float64], gamma: float, count: int) -> Positions:
    """Pick the highest `count` times; each pick takes exp(-gamma * distance) times its own value from its neighbours.

    Of equals the lower position. A heap with entries left behind: one whose value has changed since is skipped.
    """
    values = spread.tolist()
    starts, ends = graph.starts.tolist(), graph.ends.tolist()
    shares = np.exp(-gamma * graph.lengths).tolist()
    heap = [(-value, node) for node, value in enumerate(values)]
    heapq.heapify(heap)
    picked = [False] * len(values)
    picks: list[int] = []
    while len(picks) < count:
        negative, node = heapq.heappop(heap)
        if picked[node] or -negative != values[node]:
            continue
        picked[node] = True
        picks.append(node)
        for edge in range(starts[node], starts[node + 1]):
            neighbour = ends[edge]
            if not picked[neighbour]:
                values[neighbour] -= shares[edge] * values[node]
                heapq.heappush(heap, (-values[neighbour], neighbour))
    return np.array(picks, np.int64)


def d2(pool: Pool) -> Positions:
    """Build the graph, pass scores forward, pick. Scores below 0 are first raised so that the least is 0."""
    assert pool.evidence is not None
    values = pool.values - min(0.0, float(pool.values.min()))
    graph = neighbour_graph(pool.evidence, int(pool.settings["k"]))
    return greedy(graph, forward(graph, values), pool.settings["gamma"], pool.count)


def check(pools: Sequence[Pool]) -> None:
    """Refuse more neighbours than there are samples, and embeddings of width zero.

    Raises:
        InvalidValue: see above. Inside a class smaller than that, all others are neighbours.
    """
    total, k = sum(len(pool) for pool in pools), int(pools[0].settings["k"])
    if k >= total:
        raise InvalidValue(f"strategy 'd2': k={k} neighbours, but there are {total:,} samples; the most is {total - 1:,}")
    evidence = pools[0].evidence
    if evidence is None or evidence.ndim != 2 or evidence.shape[1] == 0:
        shape = None if evidence is None else [total, *evidence.shape[1:]]
        raise InvalidValue(
            f"strategy 'd2' needs embeddings [samples, width] with a width of at least 1; those of the recording are {shape}"
        )


STRATEGY = Strategy(
    "d2",
    summary="hard samples that are not neighbours of each other, by messages on a graph of the embeddings",
    source="D2 Pruning, Maharana et al. 2023, and released code (graph-mode sum, sampling weighted)",
    nested=True,
    choose=d2,
    settings=(
        Setting("k", 5, 1, 1000, "nearest neighbours of each sample"),
        Setting("gamma", 0.1, 0, 1000, "how fast a pick's penalty falls with the distance"),
    ),
    needs_finite_scores=True,
    evidence_kind="embeddings",
    read_evidence=lambda evidence, settings: evidence.features(),
    check=check,
)
