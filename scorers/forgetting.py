"""Forgetting: how often a sample was learned and then lost again."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import TrainingDynamics


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

    def losses(correct: Values) -> Values:
        lost = ((correct[:-1] == 1) & (correct[1:] == 0)).sum(0)
        return np.where(correct.any(0), lost, len(correct)).astype(np.float64)

    return dynamics.average(losses, "correct") * len(dynamics.train_passes)
