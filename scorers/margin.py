"""Margin: how close the trained proxy's second choice is."""

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import FinalEvaluation


@scorer(
    "margin",
    needs=FinalEvaluation,
    source="the uncertainty scores of DeepCore (Guo et al. 2022; Coleman et al. 2020, section 3)",
    cost="one proxy training and one forward pass",
    sign="small margins first: flipped",
)
def margin(evaluation: FinalEvaluation) -> Values:
    """Minus (largest probability - second largest) after the last epoch, mean over the whole runs.

    The label plays no part; `aum` is the margin of the label.
    """
    return -evaluation["gap"]
