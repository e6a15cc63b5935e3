"""Influence of training samples on test samples, counted over the members of a subset ensemble.

Feldman and Zhang 2020, section 2: infl(i, j) = P[right about test j | trained on i] - P[... | not trained on i], and
mem(i), the same with the training sample itself in the place of the test sample. Counts are matrix products of bits, a
block of samples at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.evidence.ensemble import SubsetEnsemble

CELLS = 1 << 21
"""Pairs of a block: memory does not grow with the product of the splits."""


@dataclass(frozen=True)
class MembershipCounts:
    """The bits of an ensemble, eight members a byte, and what is counted of each training sample alone.

    Attributes:
        num_members: how many.
        in_subset: uint8 [N, ceil(members / 8)], which members were trained on a sample.
        correct: uint8 [test samples, ceil(members / 8)], which members are right about a test sample.
        num_with: int64 [N], how many members were trained on it.
        memorization: float64 [N].
    """

    num_members: int
    in_subset: NDArray[np.uint8]
    correct: NDArray[np.uint8]
    num_with: NDArray[np.int64]
    memorization: NDArray[np.float64]

    def block(
        self, train: NDArray[np.int64], test: NDArray[np.int64], order: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(influence, its standard error), both float64 [train, test], of these ids.

        The error is that of the difference of two shares; all right or all wrong is no proof that it is so in every
        network, so half a member is added to each side there.

        Args:
            train: int64, training sample ids.
            test: int64, test sample ids.
            order: int64 [members]; member k is taken for trained as k, and for right as order[k]. Default: itself.
        """
        inside = self._bits(self.in_subset[train])
        right = self._bits(self.correct[test])
        if order is not None:
            right = right[:, order]
        both = (inside @ right.T).astype(np.float64)  # whole numbers below 2**24: exact
        with_it = self.num_with[train, None]
        shares = both / with_it, (right.sum(1, dtype=np.float64) - both) / (self.num_members - with_it)
        counts = with_it, self.num_members - with_it
        variance = np.zeros_like(both)
        for share, count in zip(shares, counts, strict=True):
            smoothed = (share * count + 0.5) / (count + 1)
            variance += smoothed * (1 - smoothed) / count
        return shares[0] - shares[1], np.sqrt(variance)

    def blocks(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """`train` in parts that make blocks of a bounded size with `test`."""
        rows = max(1, CELLS // max(1, len(test)))
        return (train[start : start + rows] for start in range(0, len(train), rows))

    def _bits(self, packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.unpackbits(packed, axis=1, count=self.num_members).astype(np.float32)


def count_members(ensemble: SubsetEnsemble, tests: int) -> MembershipCounts:
    """Read every member once.

    Args:
        ensemble: its members are read one at a time.
        tests: how many test samples they were asked about.

    Raises:
        InvalidValue: too few members for an error bar, naming a sample; members asked about another number of test samples.
    """
    members, total = len(ensemble), ensemble.total
    inside, right = (np.zeros((rows, -(-members // 8)), np.uint8) for rows in (total, tests))
    counts, correct = np.zeros((2, total), np.int64), np.zeros((2, total), np.int64)
    for number, member in enumerate(ensemble):
        if len(member.test_correct) != tests:
            raise InvalidValue(
                f"a member was asked about {len(member.test_correct):,} test samples, and there are {tests:,}"
            )
        place, bit = divmod(number, 8)
        inside[:, place] |= member.in_subset.astype(np.uint8) << (7 - bit)
        right[:, place] |= member.test_correct.astype(np.uint8) << (7 - bit)
        for side, mask in enumerate((member.in_subset, ~member.in_subset)):
            counts[side] += mask
            correct[side] += mask & member.correct
    if counts.min() < 2:
        few = int(counts.min(0).argmin())
        raise InvalidValue(
            f"an error bar needs two members that saw a sample and two that did not; sample id {few} has "
            f"{counts[0, few]} and {counts[1, few]}: add members (ensemble.num_members)"
        )
    share = correct / counts
    return MembershipCounts(members, inside, right, counts[0], share[0] - share[1])
