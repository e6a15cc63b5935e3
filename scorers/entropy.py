"""Entropy: the uncertainty of the trained proxy."""

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import FinalEvaluation


@scorer(
    "entropy",
    needs=FinalEvaluation,
    source="the uncertainty scores of DeepCore (Guo et al. 2022; Coleman et al. 2020, section 3)",
    cost="one proxy training and one forward pass",
    sign="uncertain ones first",
)
def entropy(evaluation: FinalEvaluation) -> Values:
    """Entropy of the predicted probabilities, in nats, after the last epoch, mean over the whole runs."""
    return evaluation["entropy"]
