"""The graph of nearest neighbours and their distances."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.evidence.embeddings import import_faiss, nearest_candidates


@dataclass(frozen=True)
class Graph:
    """An undirected graph of n nodes. The edges of node i are those from `starts[i]` to `starts[i + 1]`.

    `starts` is int64 [n + 1]; `ends`, int64, is the other node of each edge, which occurs twice, once from either side;
    `lengths`, float64, its length.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lengths: NDArray[np.float64]

    @property
    def sources(self) -> NDArray[np.int64]:
        """The node that each edge belongs to, like `ends`."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def nearest(features: NDArray[Any], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(Euclidean distances, positions) of the k nearest others of each row, both [n, k]; of equals the lower position first.

    faiss finds k + 1 candidates among features float [n, dim], n > k, in float32; their distances are then computed anew in
    float64, because faiss's own lose the small ones to rounding. Where more than k rows are at one distance, faiss decides
    which are candidates.
    """
    points = np.ascontiguousarray(features, np.float32)
    points -= points.mean(0)  # smaller numbers, smaller rounding
    _, candidates = import_faiss().knn(points, points, k + 1)

    def distances(rows: slice) -> NDArray[np.float64]:
        differences = features[candidates[rows]].astype(np.float64) - features[rows, None].astype(np.float64)
        return np.asarray(np.sqrt(np.square(differences).sum(2)))

    return nearest_candidates(candidates, k, distances)


def neighbour_graph(features: NDArray[Any], k: int) -> Graph:
    """Join two samples if either is one of the k nearest neighbours of the other. `k` of n - 1 or more joins all."""
    count = len(features)
    k = min(k, count - 1)
    if k == 0:
        return Graph(np.zeros(count + 1, np.int64), np.zeros(0, np.int64), np.zeros(0))
    lengths, neighbours = nearest(features, k)
    ends_a, ends_b = np.repeat(np.arange(count), k), neighbours.ravel()
    _, first = np.unique(np.minimum(ends_a, ends_b) * count + np.maximum(ends_a, ends_b), return_index=True)
    ends_a, ends_b, length = ends_a[first], ends_b[first], lengths.ravel()[first]
    sources, ends = np.concatenate([ends_a, ends_b]), np.concatenate([ends_b, ends_a])
    order = np.lexsort((ends, sources))
    starts = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=count))])
    return Graph(starts, ends[order], np.concatenate([length, length])[order])
