"""Forgetting: how often a sample was learned and then lost again."""

from itertools import pairwise

import numpy as np

from datapruning.evidence.dynamics import TrainingDynamics
from datapruning.scorer import Values, scorer


@scorer(
    "forgetting",
    needs=TrainingDynamics,
    source="Toneva et al. 2019, section 3 and released code (never learned: the number of presentations)",
    cost="one proxy training, no extra forward",
    sign="most forgotten first, never learned before all others",
)
def forgetting(dynamics: TrainingDynamics) -> Values:
    """Presentations that were wrong after one that was right, summed over the whole runs.

    A sample that a run never got right counts as many presentations as there were, more than any forgotten one.
    """
    total = np.zeros(dynamics.presentations[0].total)
    for run in dynamics.presentations:
        correct = run["correct"]
        lost = np.zeros(run.total, np.int64)
        for before, now in pairwise(correct):
            lost += (before == 1) & (now == 0)
        learned = correct.any(0)
        total += np.where(learned, lost, len(correct))
    return total
