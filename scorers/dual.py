"""DUAL: difficult and uncertain at once, early in training."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import TrainingDynamics, window_means, window_std

WINDOW, EPOCHS = 10, 30


@scorer(
    "dual",
    needs=TrainingDynamics,
    source="Cho et al. 2025, section 3 (windows of 10 of the first 30 epochs, as in the released code)",
    cost="30 epochs of one proxy, no extra forward",
    sign="difficult and uncertain first",
)
def dual(dynamics: TrainingDynamics) -> Values:
    """Mean over windows of 10 * deviation of the label probability * (1 - its mean), first 30 epochs (all, if fewer)."""

    def difficult_and_uncertain(probability: Values) -> Values:
        length = min(WINDOW, len(probability))
        return np.asarray((10 * window_std(probability, length) * (1 - window_means(probability, length))).mean(0))

    return dynamics.average(difficult_and_uncertain, "label_prob", epochs=EPOCHS)
