"""Embeddings: the input of the last linear layer of a trained network for each sample."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datapruning.errors import InvalidFile, InvalidValue, first_line
from datapruning.evidence.faiss_import import import_faiss
from datapruning.io.npy import open_npy_memmap
from datapruning.utils.cost import ComputeCost

NUM_EXTRA_NEIGHBOURS = 4
"""Candidates beyond the requested number, so that the exact order can be computed among them."""
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Embeddings:
    """Penultimate features of every training sample, with their labels.

    Attributes:
        features: float16 [N, width], a memory map if they come from a file.
        labels: int64 [N].
        seed: random seed of the evidence, for scorers that draw at random.
        cost: compute of the run that they come from.
    """

    features: NDArray[np.float16]
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
        similar, nearest = np.empty((self.total, k)), np.empty((self.total, k), np.int64)
        for start in range(0, self.total, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            ids = np.arange(self.total)[rows, None]
            products = np.einsum("nd,nkd->nk", self.directions[rows], self.directions[candidates[rows]], dtype=np.float64)
            products[candidates[rows] == ids] = -np.inf
            # faiss's float32 products are not the same on every call: the exact order, and the lower id first among equals
            order = np.lexsort((candidates[rows], -products), axis=1)[:, :k]
            similar[rows] = np.take_along_axis(products, order, 1)
            nearest[rows] = np.take_along_axis(candidates[rows], order, 1)
        return similar, nearest


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


def open_features(path: Path, total: int) -> NDArray[np.float16]:
    """Open a file of features.

    Raises:
        InvalidFile: missing, broken, or of another shape.
    """
    try:
        features = open_npy_memmap(path)
    except FileNotFoundError:
        raise InvalidFile(f"{path} is missing: this recording has no embeddings") from None
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} holds no whole array of embeddings: {first_line(error)}") from None
    if features.dtype != np.float16 or features.ndim != 2 or len(features) != total:
        raise InvalidFile(f"{path} is {features.dtype} {list(features.shape)}; float16 [{total}, width] is needed")
    return np.asarray(features)
