"""Memorization: how much a sample's own presence helps a network to get it right."""

import numpy as np

from datapruning.errors import BadValue
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.scorer import Values, scorer


@scorer(
    "memorization",
    needs=SubsetEnsemble,
    source="Feldman and Zhang 2020, section 2 (the subsampled estimator)",
    cost="an ensemble of networks, each trained on a part of the data",
    sign="most memorized first",
)
def memorization(ensemble: SubsetEnsemble) -> tuple[Values, Values]:
    """P[right | trained on it] - P[right | not], over the members, with its standard error."""
    right = np.zeros((2, ensemble.total))
    count = np.zeros((2, ensemble.total))
    for member in ensemble:
        for k, mask in enumerate((member.inside, ~member.inside)):
            count[k] += mask
            right[k] += mask & member.correct
    if count.min() < 2:
        few = int(count.min(0).argmin())
        raise BadValue(
            f"an error bar needs two members that saw a sample and two that did not; sample id {few} has "
            f"{count[0, few]:.0f} and {count[1, few]:.0f}: add members (ensemble.members)"
        )
    share = right / count
    smoothed = (right + 0.5) / (count + 1)  # all right or all wrong is no proof that it is so in every network
    return share[0] - share[1], np.sqrt((smoothed * (1 - smoothed) / count).sum(0))
