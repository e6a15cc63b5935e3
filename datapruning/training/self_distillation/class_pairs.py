"""Partners: for each kept sample another one of its class, a new one in every epoch."""

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.utils.hashing import hash_ids

PAIR_KEY = 0x9A185
MAX_SHOWN_CLASSES = 8


class ClassPairs:
    """The kept samples by class.

    Args:
        kept: int64, the kept sample ids, each once.
        labels: int64 [N], labels of all samples by id.
        allow_singletons: a class with a single kept sample is no error; that sample is its own partner.

    Raises:
        InvalidValue: a class has a single kept sample, so that it has no partner.
    """

    def __init__(self, kept: NDArray[np.int64], labels: NDArray[np.int64], *, allow_singletons: bool = False) -> None:
        self._labels = labels
        by_id = np.sort(kept)
        self._kept = by_id[np.argsort(labels[by_id], kind="stable")]  # by class, and by id within one
        self._counts = np.bincount(labels[by_id])
        self._first = np.cumsum(self._counts) - self._counts
        singletons = np.flatnonzero(self._counts == 1)
        if singletons.size and not allow_singletons:
            more = ", ..." if singletons.size > MAX_SHOWN_CLASSES else ""
            names = ", ".join(map(str, singletons[:MAX_SHOWN_CLASSES])) + more
            raise InvalidValue(
                f"pairs within a class need two kept samples or more, but {singletons.size} of the classes "
                f"{'has' if singletons.size == 1 else 'have'} a single one (class {names}): keep more, "
                "or the same share of each class",
                parameter="balance",
            )

    def draw(self, ids: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """Partners int64 [n] of the kept samples `ids` [n]: a pure function of (id, seed, epoch) and the set of kept ids.

        Each is uniform over the other kept samples of the class.
        """
        classes = self._labels[ids]
        first, count = self._first[classes], self._counts[classes]
        positions = np.empty(len(ids), np.int64)  # of the samples within their classes
        for label in np.unique(classes):
            in_class = classes == label
            members = self._kept[self._first[label] : self._first[label] + self._counts[label]]
            positions[in_class] = np.searchsorted(members, ids[in_class])
        drawn = _bounded(hash_ids(ids, PAIR_KEY, seed, epoch), np.maximum(count - 1, 1))
        offset = np.where(count == 1, 0, drawn + (drawn >= positions))  # a sample is not its own partner
        partners: NDArray[np.int64] = self._kept[first + offset]
        return partners


def _bounded(bits: NDArray[np.uint64], limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integers int64 [n] in 0..limit-1 from random bits [n], as `hashing.bounded_ints` with a limit for each."""
    return (((bits >> np.uint64(32)) * limits.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
