"""Confidence: how sure the trained proxy is."""

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import FinalEvaluation


@scorer(
    "confidence",
    needs=FinalEvaluation,
    source="the uncertainty scores of DeepCore (Guo et al. 2022; Coleman et al. 2020, section 3)",
    cost="one proxy training and one forward pass",
    sign="unsure ones first: flipped",
)
def confidence(evaluation: FinalEvaluation) -> Values:
    """Minus the largest probability after the last epoch, mean over the whole runs. The label plays no part."""
    return -evaluation["confidence"]
