"""Embeddings: the input of the last linear layer of a trained network for each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue, MissingPackage, first_line
from datapruning.utils.cost import ComputeCost

if TYPE_CHECKING:
    from torch import Tensor

NUM_EXTRA_NEIGHBOURS = 4
"""Candidates beyond the requested number, so that the exact order can be computed among them."""
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Embeddings:
    """Penultimate features of every training sample, or embeddings of another network, with the labels.

    Attributes:
        features: float16 [N, width], or float32 if they were computed elsewhere; a memory map if they come from a file.
        labels: int64 [N].
        seed: random seed of the evidence, for scorers that draw at random.
        cost: compute of the run that they come from.
    """

    features: NDArray[np.floating[Any]]
    labels: NDArray[np.int64]
    seed: int = 0
    cost: ComputeCost = field(default_factory=ComputeCost)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or not self.features.shape[1]:
            raise InvalidValue(
                f"embeddings are [samples, width] with at least one number a sample, got {self.features.shape}"
            )
        if len(self.features) != len(self.labels):
            raise InvalidValue(f"{len(self.features):,} embeddings came with {len(self.labels):,} labels")

    @property
    def total(self) -> int:
        """N, the number of samples."""
        return len(self.labels)

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Features normalised to length 1, float32 [N, width]; features of length 0 stay 0."""
        features = self.features.astype(np.float32)
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)

    def neighbours(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(cosine similarities float64 [N, k], ids int64 [N, k]) of the nearest others, nearest first.

        Exact search with faiss: about N * N * width multiplications.

        Raises:
            InvalidValue: k is not in 1..N-1. MissingPackage: faiss is not installed.
        """
        if not 1 <= k < self.total:
            raise InvalidValue(
                f"each of {self.total:,} samples has {self.total - 1:,} others; the {k} nearest cannot be found"
            )
        index = import_faiss().IndexFlatIP(self.features.shape[1])
        index.add(self.directions)
        _, candidates = index.search(self.directions, min(k + 1 + NUM_EXTRA_NEIGHBOURS, self.total))

        def distances(rows: slice) -> NDArray[np.float64]:
            """Minus the cosines: faiss's float32 products are not the same on every call."""
            directions = self.directions
            products = np.einsum("nd,nkd->nk", directions[rows], directions[candidates[rows]], dtype=np.float64)
            return np.asarray(-products)

        negative, nearest = nearest_candidates(candidates, k, distances)
        return -negative, nearest

    def first_copies(self) -> NDArray[np.int64]:
        """The smallest id of a sample with the same features, for each sample, int64 [N]."""
        features = np.ascontiguousarray(self.features + self.features.dtype.type(0))  # so that -0 has the bits of 0
        bits = features.view(f"V{features.itemsize * features.shape[1]}")[:, 0]
        _, first, inverse = np.unique(bits, return_index=True, return_inverse=True)
        return np.asarray(first[inverse], np.int64)

    def near_pairs(self, max_distance: float, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(ids int64 [m, 2], cosine distances float64 [m]) of the pairs of samples no farther apart, the nearest first.

        A sample is paired with its `k` nearest others at most. Of equal samples, each is paired with the first alone, and
        that one stands for all of them. The distance is 1 - cosine; the lower id of a pair comes first.

        Raises:
            MissingPackage: faiss is not installed.
        """
        first = self.first_copies()
        copies, unique = np.flatnonzero(first != np.arange(self.total)), np.unique(first)
        pairs, distances = [np.stack([first[copies], copies], 1)], [np.zeros(len(copies))]
        if len(unique) > 1:
            similarity, nearest = Embeddings(self.features[unique], self.labels[unique]).neighbours(min(k, len(unique) - 1))
            rows, columns = np.nonzero(1 - similarity <= max_distance)
            new_pairs = np.sort(unique[np.stack([rows, nearest[rows, columns]], 1)], axis=1)
            new_pairs, index = np.unique(new_pairs, axis=0, return_index=True)
            pairs.append(new_pairs)
            distances.append(np.maximum(1 - similarity[rows, columns], 0)[index])
        ids, lengths = np.concatenate(pairs), np.concatenate(distances)
        order = np.lexsort((ids[:, 1], ids[:, 0], lengths))
        return ids[order], lengths[order]

    def rank_within_class(self, order: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.float64]:
        """Scores from an order in each class: 1 for the first of a class, falling to 1/n for the last of its n, float64 [N].

        So the highest scores are, to rounding, the same fraction of every class.

        Args:
            order: float64 features [n, width] of a class -> positions int64 [n], the first to keep first.
        """
        scores = np.empty(self.total)
        for label in np.unique(self.labels):
            ids = np.flatnonzero(self.labels == label)
            positions = order(self.features[ids].astype(np.float64))
            scores[ids[positions]] = 1 - np.arange(len(ids)) / len(ids)
        return scores


def nearest_candidates(
    candidates: NDArray[np.int64], k: int, distances: Callable[[slice], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(distances float64, ids int64) of the k nearest candidates of each sample, both [n, k]; of equals the lower id first.

    `candidates`, int64 [n, m > k], are near each of n samples, which may itself be among them. `distances` makes of rows of
    samples the exact distances of their candidates, a new array float64 [rows, m].
    """
    lengths, nearest = np.empty((len(candidates), k)), np.empty((len(candidates), k), np.int64)
    for start in range(0, len(candidates), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block, ids = distances(rows), candidates[rows]
        block[ids == np.arange(len(candidates))[rows, None]] = np.inf  # a sample is no neighbour of itself
        order = np.lexsort((ids, block))[:, :k]
        lengths[rows], nearest[rows] = np.take_along_axis(block, order, 1), np.take_along_axis(ids, order, 1)
    return lengths, nearest


def to_features(features: Tensor, ids: NDArray[np.int64]) -> NDArray[np.float16]:
    """The features [n, width] of samples `ids` as they are stored.

    Raises:
        InvalidValue: of another shape, or numbers that float16 does not hold (NaN, infinite, beyond 65,504).
    """
    if features.ndim != 2 or len(features) != len(ids) or not features.shape[1]:
        raise InvalidValue(
            f"features are [n, width] for {len(ids)} ids, got {list(features.shape)}; flatten or pool them first"
        )
    stored: NDArray[np.float16] = features.detach().half().cpu().numpy()
    bad = ids[~np.isfinite(stored).all(1)]
    if bad.size:
        raise InvalidValue(
            f"the features of {bad.size:,} samples are NaN, infinite or beyond what float16 holds (65,504), the first is "
            f"sample id {bad[0]}; scale them down"
        )
    return stored


def import_faiss() -> Any:
    """Import faiss, which finds nearest neighbours and prototypes; it is optional.

    Raises:
        MissingPackage: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingPackage(
            f"faiss, which finds nearest neighbours, cannot be imported ({first_line(error)}): pip install faiss-cpu"
        ) from None
    return faiss
