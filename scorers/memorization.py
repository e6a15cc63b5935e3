"""Memorization: how much a sample's own presence helps a network to get it right."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.membership_counts import held_out_margins

WIDTH = 1.5
"""Half-width of the kernel, in typical standard deviations of a sample's margin between members that did not see it."""


@scorer(
    "memorization",
    needs=SubsetEnsemble,
    source="Feldman and Zhang 2020, section 2, for networks that fit what they are trained on; smoothed (docs/scorers.md)",
    cost="an ensemble of networks, each trained on a part of the data",
    sign="most memorized first",
)
def memorization(ensemble: SubsetEnsemble) -> tuple[Values, Values]:
    """1 - P[right | not trained on it], with its standard error over the members.

    P[right | trained on it] is 1 for networks that fit their samples, members that were trained too
    briefly to fit only add noise there. Whether a member is right is a step of its margin; a straight ramp instead (a
    uniform kernel) says the same of samples far from the border, and much more of those near it.
    """
    margins, counts, spread = held_out_margins(ensemble)
    ramp = np.clip(margins / (2 * WIDTH * spread) + 0.5, 0, 1)
    mean = np.nansum(ramp, 0) / counts
    variance = np.nansum((ramp - mean) ** 2, 0) / (counts - 1)
    # as if one more member had been half a step off: no spread among a few members is no proof that there is none
    return 1 - mean, np.sqrt((variance + 0.25 / (counts + 1)) / (counts + 1))
