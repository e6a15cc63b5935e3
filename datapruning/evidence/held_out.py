"""Predictions of an ensemble's members for samples that they were not trained on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.evidence.ensemble import SubsetEnsemble


@dataclass(frozen=True)
class HeldOutMargins:
    """Margins of held-out samples.

    Attributes:
        margins: float32 [largest count, N]: the margins of each sample by the members that were not trained on it, in the
            order of the members; NaN where a sample has fewer.
        counts: int64 [N], the number of such members.
        spread: the median over samples of the standard deviation of a sample's margins.
    """

    margins: NDArray[np.float32]
    counts: NDArray[np.int64]
    spread: float


def held_out_margins(ensemble: SubsetEnsemble) -> HeldOutMargins:
    """Collect the margins, one member after the other.

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
    return HeldOutMargins(margins, counts, max(spread, 1e-6))


def check_enough(inside: NDArray[np.generic], outside: NDArray[np.generic]) -> None:
    """Refuse an ensemble in which fewer than two members were trained on a sample, or fewer than two were not.

    Args:
        inside: [N], number of members that were trained on each sample.
        outside: [N], number of members that were not.

    Raises:
        InvalidValue: naming one.
    """
    fewest = np.minimum(inside, outside)
    sample_id = int(fewest.argmin())
    if fewest[sample_id] < 2:
        raise InvalidValue(
            f"an error bar needs two members that were trained on a sample and two that were not; sample id "
            f"{sample_id} has {inside[sample_id]:.0f} and {outside[sample_id]:.0f}: add members (ensemble.num_members)"
        )
