"""What the members of an ensemble make of samples that they never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.evidence.ensemble import SubsetEnsemble


@dataclass(frozen=True)
class HeldOutMargins:
    """Margins of unseen samples.

    Attributes:
        margins: float32 [most members outside of one sample, N]: of each sample those of the members that did not see it,
            in the order of the members; NaN where a sample has fewer.
        counts: int64 [N], how many each has.
        spread: the median over samples of the standard deviation of a sample's margins.
    """

    margins: NDArray[np.float32]
    counts: NDArray[np.int64]
    spread: float


def held_out_margins(ensemble: SubsetEnsemble) -> HeldOutMargins:
    """Gather them, one member after the other.

    Raises:
        InvalidValue: too few members for an error bar, naming a sample.
    """
    inside = np.zeros(ensemble.total, np.int64)
    for member in ensemble:
        inside += member.in_subset
    counts = len(ensemble) - inside
    check_enough(inside, counts)
    margins = np.full((int(counts.max()), ensemble.total), np.nan, np.float32)
    row = np.zeros(ensemble.total, np.int64)
    for member in ensemble:
        ids = np.flatnonzero(~member.in_subset)
        margins[row[ids], ids] = member.margin[ids]
        row[ids] += 1
    spread = float(np.median(np.nanstd(margins, axis=0, ddof=1)))
    return HeldOutMargins(margins, counts, max(spread, 1e-6))


def check_enough(inside: NDArray[np.generic], outside: NDArray[np.generic]) -> None:
    """Refuse an ensemble in which a sample was seen, or not seen, by fewer than two members.

    Raises:
        InvalidValue: naming one.
    """
    fewest = np.minimum(inside, outside)
    few = int(fewest.argmin())
    if fewest[few] < 2:
        raise InvalidValue(
            f"an error bar needs two members that saw a sample and two that did not; sample id {few} has {inside[few]:.0f} "
            f"and {outside[few]:.0f}: add members (ensemble.num_members)"
        )
