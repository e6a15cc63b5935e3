"""TDDS: how unsteadily predictions move, the end of training counting most."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import TrainingDynamics, window_squares

WINDOW, EPOCHS, DECAY = 10, 90, 0.9


@scorer(
    "tdds",
    needs=TrainingDynamics,
    source="Zhang et al. 2024, section 3 (decay 0.9 as in the released code; windows of 10 of the first 90 epochs)",
    cost="one proxy training, no extra forward",
    sign="unsteady ones first",
)
def tdds(dynamics: TrainingDynamics) -> Values:
    """Windows of 10 epochs, 9 changes each: the norm of the changes around their mean, weighted 0.9 * 0.1^(age).

    A change is sum_c |p_c log(p_c / q_c)|, q the epoch before. Where there are fewer than 10 epochs, the window is all.
    """

    def unsteadiness(change: Values) -> Values:
        changes = change[1:].astype(np.float64)  # the first epoch has none before it
        if not len(changes):
            return np.zeros(change.shape[1])
        norms = np.sqrt(window_squares(changes, min(WINDOW - 1, len(changes))))
        age = np.arange(len(norms))[::-1]
        return np.asarray((DECAY * (1 - DECAY) ** age) @ norms)

    return dynamics.average(unsteadiness, "change", epochs=EPOCHS)
