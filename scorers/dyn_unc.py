"""Dyn-Unc: how much the probability of the label sways."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import TrainingDynamics, window_std

WINDOW = 10


@scorer(
    "dyn-unc",
    needs=TrainingDynamics,
    source="He et al. 2024, section 3.2 (window of 10 epochs, standard deviation with n - 1, as in the released code)",
    cost="one proxy training, no extra forward",
    sign="most uncertain first",
)
def dyn_unc(dynamics: TrainingDynamics) -> Values:
    """Mean over windows of 10 epochs (one window, if there are fewer) of 10 times the label probability's deviation."""

    def deviation(probability: Values) -> Values:
        return np.asarray(10 * window_std(probability, min(WINDOW, len(probability))).mean(0))

    return dynamics.average(deviation, "label_prob")
