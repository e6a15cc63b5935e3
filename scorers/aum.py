"""AUM: the area under the margin. Mislabelled samples lean towards another class all through training."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import TrainingDynamics


@scorer(
    "aum",
    needs=TrainingDynamics,
    source="Pleiss et al. 2020, section 3 (logits, mean over all presentations; not CCS's sum of probability margins)",
    cost="one proxy training, no extra forward",
    sign="low areas first: flipped",
)
def aum(dynamics: TrainingDynamics) -> Values:
    """Minus the mean over epochs and whole runs of the label's logit minus the largest other one."""
    return -dynamics.average(lambda margin: margin.mean(0, dtype=np.float64), "margin")
