"""Statistics of subset-ensemble members by membership of a sample: influence, held-out margins.

Feldman and Zhang 2020, section 2: infl(i, j) = P[right about test j | trained on i] - P[... | not trained on i], and
mem(i), the same with the training sample itself as the test sample. Counts are matrix products of bits, a
block of samples at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.evidence.ensemble import SubsetEnsemble

MAX_PAIRS = 1 << 21
"""Pairs of a block: memory does not grow with the product of the splits."""


@dataclass(frozen=True)
class MembershipCounts:
    """Which members were trained on a sample and which are right, eight members a byte, and counts for training samples.

    `in_subset`, uint8 [N, ceil(members / 8)], says which members were trained on a sample; `correct`, uint8 [test samples,
    ceil(members / 8)], which are right about a test sample; `num_with`, int64 [N], how many were trained on a sample;
    `memorization`, float64 [N], is mem(i).
    """

    num_members: int
    in_subset: NDArray[np.uint8]
    correct: NDArray[np.uint8]
    num_with: NDArray[np.int64]
    memorization: NDArray[np.float64]

    def block(
        self, train: NDArray[np.int64], test: NDArray[np.int64], order: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(influence, its standard error), both float64 [train, test], of these training and test ids, int64.

        The error is that of the difference of two proportions. That all members are right does not prove that every network
        is: half a right and half a wrong member are added to each side. With `order`, int64 [members], the predictions of
        member order[k] are taken for those of member k.
        """
        in_subset = self._bits(self.in_subset[train])
        correct = self._bits(self.correct[test])
        if order is not None:
            correct = correct[:, order]
        both = (in_subset @ correct.T).astype(np.float64)  # whole numbers below 2**24: exact
        num_with = self.num_with[train, None]
        shares = both / num_with, (correct.sum(1, dtype=np.float64) - both) / (self.num_members - num_with)
        counts = num_with, self.num_members - num_with
        variance = np.zeros_like(both)
        for share, count in zip(shares, counts, strict=True):
            smoothed = (share * count + 0.5) / (count + 1)
            variance += smoothed * (1 - smoothed) / count
        return shares[0] - shares[1], np.sqrt(variance)

    def blocks(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """`train` in parts, so that each has at most `MAX_PAIRS` pairs with `test`."""
        rows = max(1, MAX_PAIRS // max(1, len(test)))
        return (train[start : start + rows] for start in range(0, len(train), rows))

    def _bits(self, packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.unpackbits(packed, axis=1, count=self.num_members).astype(np.float32)


def count_members(ensemble: SubsetEnsemble, num_test: int) -> MembershipCounts:
    """Read every member once; each was evaluated on `num_test` test samples.

    Raises:
        InvalidValue: too few members for an error bar, naming a sample; members of another test set.
    """
    num_members, total = len(ensemble), ensemble.total
    in_subset, test_correct = (np.zeros((rows, -(-num_members // 8)), np.uint8) for rows in (total, num_test))
    counts, correct = np.zeros((2, total), np.int64), np.zeros((2, total), np.int64)
    for number, member in enumerate(ensemble):
        if len(member.test_correct) != num_test:
            raise InvalidValue(
                f"a member was evaluated on {len(member.test_correct):,} test samples, and there are {num_test:,}"
            )
        byte, bit = divmod(number, 8)
        in_subset[:, byte] |= member.in_subset.astype(np.uint8) << (7 - bit)
        test_correct[:, byte] |= member.test_correct.astype(np.uint8) << (7 - bit)
        for k, mask in enumerate((member.in_subset, ~member.in_subset)):
            counts[k] += mask
            correct[k] += mask & member.correct
    check_enough(counts[0], counts[1])
    share = correct / counts
    return MembershipCounts(num_members, in_subset, test_correct, counts[0], share[0] - share[1])


def held_out_margins(ensemble: SubsetEnsemble) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """Collect the margins of each sample by the members that were not trained on it, one member after the other.

    Returns:
        (margins float32 [largest count, N], in the order of the members, NaN where a sample has fewer; the number of such
        members int64 [N]; the median over samples of the standard deviation of a sample's margins).

    Raises:
        InvalidValue: too few members for an error bar, naming a sample.
    """
    num_with = np.zeros(ensemble.total, np.int64)
    for member in ensemble:
        num_with += member.in_subset
    counts = len(ensemble) - num_with
    check_enough(num_with, counts)
    margins = np.full((int(counts.max()), ensemble.total), np.nan, np.float32)
    row = np.zeros(ensemble.total, np.int64)
    for member in ensemble:
        ids = np.flatnonzero(~member.in_subset)
        margins[row[ids], ids] = member.margin[ids]
        row[ids] += 1
    spread = float(np.median(np.nanstd(margins, axis=0, ddof=1)))
    return margins, counts, max(spread, 1e-6)


def check_enough(inside: NDArray[np.generic], outside: NDArray[np.generic]) -> None:
    """Refuse an ensemble in which fewer than two members were trained on a sample, or fewer than two were not.

    Raises:
        InvalidValue: naming one; `inside` and `outside`, both [N], are the numbers of such members.
    """
    fewest = np.minimum(inside, outside)
    sample_id = int(fewest.argmin())
    if fewest[sample_id] < 2:
        raise InvalidValue(
            f"an error bar needs two members that were trained on a sample and two that were not; sample id "
            f"{sample_id} has {inside[sample_id]:.0f} and {outside[sample_id]:.0f}: add members (ensemble.num_members)"
        )
