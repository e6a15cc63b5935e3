"""Loss: the cross-entropy of the trained proxy."""

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import FinalEvaluation


@scorer(
    "loss",
    needs=FinalEvaluation,
    source="a common baseline (the released code of CCS, Zheng et al. 2023, has it too)",
    cost="one proxy training and one forward pass",
    sign="large losses first",
)
def loss(evaluation: FinalEvaluation) -> Values:
    """Cross-entropy after the last epoch, mean over the whole runs."""
    return evaluation["loss"]
