"""Confidence intervals of shares."""


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share of `correct` among `count` (Wilson 1927), 0..1, which holds near 0 and 1, too."""
    from scipy.stats import binomtest

    interval = binomtest(correct, count).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)
