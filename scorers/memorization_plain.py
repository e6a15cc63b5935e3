"""Memorization as it was first estimated: right or wrong, counted."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.membership_counts import check_enough


@scorer(
    "memorization-plain",
    needs=SubsetEnsemble,
    source="Feldman and Zhang 2020, section 2 (the subsampled estimator as it stands)",
    cost="an ensemble of networks, each trained on a part of the data until it fits",
    sign="most memorized first",
)
def memorization_plain(ensemble: SubsetEnsemble) -> tuple[Values, Values]:
    """P[right | trained on it] - P[right | not], over the members, with its standard error."""
    right = np.zeros((2, ensemble.total))
    count = np.zeros((2, ensemble.total))
    for member in ensemble:
        for k, mask in enumerate((member.in_subset, ~member.in_subset)):
            count[k] += mask
            right[k] += mask & member.correct
    check_enough(count[0], count[1])
    share = right / count
    smoothed = (right + 0.5) / (count + 1)  # all right or all wrong is no proof that it is so in every network
    return share[0] - share[1], np.sqrt((smoothed * (1 - smoothed) / count).sum(0))
