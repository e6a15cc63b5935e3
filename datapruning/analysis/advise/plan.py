"""Which pilot comes next: up the ladder of fractions until one is near enough, then where the curve meets the tolerance.

A pure function of what is measured already, so that an advice that was interrupted continues as it would have, and one
with another tolerance starts from the existing pilots.
"""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from datapruning.analysis.advise.curve import Curve, Floats, interval

FRACTION_LADDER = ("0.025", "0.05", "0.1", "0.2", "0.4", "0.7")
"""Under the budget "epochs" a pilot costs its fraction of a training, so going up costs twice the answer at most."""
MIN_PILOTS = 3
"""Fractions of the ladder that are always tried: a curve has three parameters."""
MAX_FRACTION = 0.95
"""An answer above this saves too little to count as one."""
MIN_SUCCESS_PROB = 0.1
"""Continue upwards while the probability that a fraction below MAX_FRACTION is near enough exceeds this."""
NEAR_FACTOR, MIN_NEAR_PILOTS = 1.25, 2
CLOSE_FACTOR, MIN_CLOSE_PILOTS = 2.0, 4
"""So many pilots within either factor of the answer are enough."""
MIN_SAMPLES_PER_CLASS = 4
MIN_PILOT_SAMPLES = 16


class Pilot(NamedTuple):
    """The fraction of a pilot, as text, and its repetition: 0, 1, ..."""

    fraction: str
    repeat: int


def ladder(available: int, classes: int) -> list[str]:
    """Return the fractions of the ladder that keep enough of `available` samples for a training."""
    lowest = min_fraction(available, classes)
    return [fraction for fraction in FRACTION_LADDER if Fraction(fraction) >= lowest]


def min_fraction(available: int, classes: int) -> Fraction:
    """Return the smallest fraction of a pilot, which keeps a few samples a class."""
    return Fraction(max(MIN_SAMPLES_PER_CLASS * classes, MIN_PILOT_SAMPLES), available)


def next_pilot(
    pilots: Sequence[Pilot], gaps: Floats, curve: Curve | None, tolerance: float, available: int, classes: int
) -> Pilot | None:
    """Return the next pilot, or None where the answer is known well enough.

    Args:
        pilots: Those that are measured.
        gaps: Their gaps to the reference in points, float64 [pilots].
        curve: Fitted to those; None with fewer than two.
        tolerance: In points of accuracy.
        available: Number of samples that pilots choose from.
        classes: Number of classes.
    """
    fractions = {pilot.fraction for pilot in pilots}
    steps, lowest = ladder(available, classes), min_fraction(available, classes)
    for fraction in steps[:MIN_PILOTS]:
        if fraction not in fractions:
            return Pilot(fraction, 0)
    if curve is None:
        return None
    crossing = curve.crossing(tolerance)
    num_within = int(np.sum(np.asarray(gaps) <= tolerance))
    higher = [fraction for fraction in steps if float(fraction) > max(map(float, fractions))]
    if not num_within and higher:
        return Pilot(higher[0], 0) if float(np.mean(crossing < MAX_FRACTION)) > MIN_SUCCESS_PROB else None
    if num_within == len(pilots):
        half = Fraction(min(fractions, key=float)) / 2
        if half >= lowest:
            return Pilot(f"{float(half):.2g}", 0)
    answer = interval(crossing)[0]
    if not float(lowest) <= answer < MAX_FRACTION or _is_known(pilots, answer):
        return None
    nearest = min(fractions, key=lambda fraction: abs(np.log(float(fraction) / answer)))
    if _distance(nearest, answer) < 1.1:
        return Pilot(nearest, Counter(pilot.fraction for pilot in pilots)[nearest])
    return Pilot(f"{answer:.2g}", 0)


def _is_known(pilots: Sequence[Pilot], answer: float) -> bool:
    distances = np.array([_distance(pilot.fraction, answer) for pilot in pilots])
    near, close = (int(np.sum(distances <= factor)) for factor in (NEAR_FACTOR, CLOSE_FACTOR))
    return near >= MIN_NEAR_PILOTS or close >= MIN_CLOSE_PILOTS


def _distance(fraction: str, answer: float) -> float:
    """The factor, at least 1, between a fraction and the answer."""
    return max(float(fraction) / answer, answer / float(fraction))
