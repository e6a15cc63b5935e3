"""Which pilot comes next: up the rungs until one is near enough, then where the curve crosses the tolerance.

A pure function of what is measured already, so that an advice that was killed goes on as it would have, and one with
another tolerance starts from the pilots that are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from datapruning.analysis.advise.curve import Curve, Floats, interval

RUNGS = ("0.025", "0.05", "0.1", "0.2", "0.4", "0.7")
"""Under the budget "epochs" a pilot costs its fraction of a training, so going up costs twice the answer at most."""
FIRST = 3
"""Rungs that are always tried: a curve has three parameters."""
LIMIT = 0.95
"""An answer above this saves nothing worth having: it counts as none."""
HOPE = 0.1
"""Go up as long as the chance that a fraction below LIMIT is near enough is larger."""
NEAR, NEAR_ENOUGH = 1.25, 2
CLOSE, CLOSE_ENOUGH = 2.0, 4
"""So many pilots within these factors of the answer are enough."""
FEWEST_A_CLASS = 4

Pilot = tuple[str, int]
"""Fraction, as text, and its repetition: 0, 1, ..."""


def rungs(available: int, classes: int) -> list[str]:
    """The rungs that keep enough of so many samples to be worth a training."""
    least = smallest(available, classes)
    return [rung for rung in RUNGS if Fraction(rung) >= least]


def smallest(available: int, classes: int) -> Fraction:
    """No pilot is smaller: a few samples a class."""
    return Fraction(max(FEWEST_A_CLASS * classes, 16), available)


def next_pilot(
    tried: Sequence[Pilot], gaps: Floats, curve: Curve | None, tolerance: float, available: int, classes: int
) -> Pilot | None:
    """The next one, or None where enough is known.

    Args:
        tried: what is measured.
        gaps: of those, in points, [tried].
        curve: fitted to those; None with fewer than two.
        tolerance: in points.
        available: samples that pilots choose from.
        classes: of the dataset.
    """
    done = {fraction for fraction, _ in tried}
    steps = rungs(available, classes)
    for rung in steps[:FIRST]:
        if rung not in done:
            return rung, 0
    if curve is None:
        return None
    crossing = curve.crossing(tolerance)
    within = [float(fraction) for (fraction, _), gap in zip(tried, gaps, strict=True) if gap <= tolerance]
    higher = [rung for rung in steps if float(rung) > max(map(float, done))]
    if not within and higher:
        return (higher[0], 0) if float(np.mean(crossing < LIMIT)) > HOPE else None
    if len(within) == len(tried):
        lower = Fraction(min(done, key=float)) / 2
        if lower >= smallest(available, classes):
            return f"{float(lower):.2g}", 0
    answer = interval(crossing)[0]
    if not float(smallest(available, classes)) <= answer < LIMIT or _known(tried, answer):
        return None
    counts = Counter(fraction for fraction, _ in tried)
    nearest = min(done, key=lambda fraction: abs(np.log(float(fraction) / answer)))
    if max(float(nearest) / answer, answer / float(nearest)) < 1.1:
        return nearest, counts[nearest]
    return f"{answer:.2g}", 0


def _known(tried: Sequence[Pilot], answer: float) -> bool:
    distances = [max(float(fraction) / answer, answer / float(fraction)) for fraction, _ in tried]
    near, close = (sum(d <= limit for d in distances) for limit in (NEAR, CLOSE))
    return near >= NEAR_ENOUGH or close >= CLOSE_ENOUGH
