"""EL2N as others log it: error norms of the training pass itself, summed over the first epochs. Not the paper's EL2N."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import TrainingDynamics

EPOCHS = 10


@scorer(
    "el2n-online",
    needs=TrainingDynamics,
    source="the released code of CCS (Zheng et al. 2023): sum over the first 10 epochs of one run",
    cost="one proxy training, no extra forward",
    sign="large errors first",
)
def el2n_online(dynamics: TrainingDynamics) -> Values:
    """Sum over the first 10 presentations (all, if there are fewer) of the error norm, mean over the whole runs."""
    return dynamics.average(lambda norm: norm.sum(0, dtype=np.float64), "error_norm", epochs=EPOCHS)
