"""The learning curve through the pilots, and the smallest fraction that it puts within a tolerance.

error(f) = floor + scale * f^-power, all three at least 0, in points. The reference, a training on everything without KD,
is no point of the curve: it is what the curve is compared with. What a pilot falls short of it is paired, sample by
sample, so that hard judges count against neither.

One thing is known beforehand: keeping everything, with a teacher, is about as good as keeping everything without one.
That holds the curve where pilots are few or noisy, and gives way to them where they are not.

Uncertainty by bootstrap: a draw resamples the judges, moves every run by the noise between runs, and fits anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_KEY = 0xAD715E
DRAWS = 1000
CONFIDENCE = 0.8
POWERS = np.geomspace(0.1, 3.0, 36)
USUAL_POWER, POWER_SPREAD = 0.5, 0.8
"""Prior of the power: log-normal. Two pilots say nothing about it, five say enough to overrule this."""
MISFIT = 0.1
"""How far, in shares of its distance to the tolerance, a pilot may lie off a true power law: so those near the answer
decide, and those far away only guide."""
LEAST_DOUBT, DOUBT = 0.5, 0.1
"""Standard deviation of what KD changes where everything is kept: a share of the reference's error, so many points at
least."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Marks:
    """What was measured.

    Attributes:
        fractions: float64 [pilots].
        pilots: bool [pilots, judges], which judges each got right.
        reference: bool [judges].
        flattery: points by which the pilots may look better than they are because their teacher saw the judges; it lies
            somewhere between 0 and this.
    """

    fractions: Floats
    pilots: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    flattery: float = 0.0

    @property
    def gaps(self) -> Floats:
        """How many points each pilot falls short of the reference, [pilots]; half the possible flattery is taken off."""
        gaps: Floats = 100 * (self.reference.mean() - self.pilots.mean(axis=1)) + self.flattery / 2
        return gaps

    @property
    def stderrs(self) -> Floats:
        """Standard error of each gap from the choice of judges alone, [pilots]."""
        short = 100.0 * (self.reference.astype(np.int64) - self.pilots.astype(np.int64))
        errors: Floats = short.std(axis=1) / np.sqrt(len(self.reference))
        return errors


def run_noise(error: Floats) -> Floats:
    """Standard deviation, in points, of the accuracy of runs that differ by seed and subset; measured on Fashion-MNIST."""
    return 0.06 * np.sqrt(np.maximum(error, 0.0))


@dataclass(frozen=True)
class Curve:
    """Bootstrapped curves; every array float64 [draws], in points."""

    floor: Floats
    scale: Floats
    power: Floats
    reference: Floats

    def gap(self, fraction: float) -> Floats:
        """Points short of the reference at a fraction, [draws]."""
        gap: Floats = self.floor + self.scale * fraction**-self.power - self.reference
        return gap

    def crossing(self, tolerance: float) -> Floats:
        """The fraction at which each curve comes within the tolerance, [draws]; infinite where none does."""
        room = self.reference + tolerance - self.floor
        with np.errstate(divide="ignore", over="ignore"):
            reached = np.where(room > 0, self.scale / np.where(room > 0, room, 1.0), np.inf) ** (1 / self.power)
        return np.asarray(reached, np.float64)


def fit_curve(marks: Marks, tolerance: float, seed: int = 0) -> Curve:
    """Fit every bootstrap draw, most exactly where the gap is near the tolerance.

    Args:
        marks: two pilots or more.
        tolerance: in points.
        seed: of the bootstrap.
    """
    random = np.random.default_rng([BOOTSTRAP_KEY, seed])
    count = len(marks.reference)
    patterns, times = _patterns(np.vstack([marks.pilots, marks.reference]))
    drawn = random.multinomial(count, times / count, size=DRAWS) / count
    errors = 100 * (1 - drawn @ patterns.astype(np.float64))
    errors += run_noise(errors) * random.standard_normal(errors.shape)
    errors[:, :-1] += marks.flattery * random.random((DRAWS, 1))
    noise = run_noise(100 * (1 - marks.pilots.mean(axis=1))) ** 2 + marks.stderrs**2
    weights = 1 / (noise + (MISFIT * (marks.gaps - tolerance)) ** 2)
    doubt = max(LEAST_DOUBT, DOUBT * 100 * (1 - float(marks.reference.mean())))
    everything = errors[:, -1:] + doubt * random.standard_normal((DRAWS, 1))
    floor, scale, power = power_law(
        np.append(marks.fractions, 1.0), np.hstack([errors[:, :-1], everything]), np.append(weights, doubt**-2)
    )
    return Curve(floor, scale, power, errors[:, -1])


def power_law(fractions: Floats, errors: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Least squares with non-negative parameters: for a given power the other two have a closed form.

    Args:
        fractions: [pilots].
        errors: [draws, pilots].
        weights: [pilots].

    Returns:
        floor, scale, power, each [draws].
    """
    share = weights / weights.sum()
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    for power in POWERS:
        x = fractions**-power
        mean_x, mean_y = share @ x, errors @ share
        spread = share @ (x - mean_x) ** 2
        scale = np.maximum((errors - mean_y[:, None]) @ (share * (x - mean_x)) / max(spread, 1e-12), 0.0)
        floor = mean_y - scale * mean_x
        through_zero = errors @ (share * x) / (share @ x**2)
        scale, floor = np.where(floor < 0, through_zero, scale), np.maximum(floor, 0.0)
        misfit = (errors - floor[:, None] - scale[:, None] * x) ** 2 @ weights
        misfit += (np.log(power / USUAL_POWER) / POWER_SPREAD) ** 2
        better = misfit < best
        best = np.where(better, misfit, best)
        found = np.where(better, [floor, scale, np.full(len(floor), power)], found)
    return found[0], found[1], found[2]


def _patterns(marks: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Judges with the same marks are one, which makes drawing them cheap: bool [patterns, runs], and how many of each."""
    bits = np.arange(len(marks))
    codes, times = np.unique((marks << bits[:, None]).sum(axis=0), return_counts=True)
    return (codes[:, None] >> bits & 1).astype(np.bool_), times


def interval(draws: Floats, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """(median, low, high) of draws; infinities count as they are."""
    low, median, high = np.quantile(draws, [(1 - confidence) / 2, 0.5, (1 + confidence) / 2], method="nearest")
    return float(median), float(low), float(high)


def as_marks(
    fractions: Sequence[float],
    pilots: Sequence[NDArray[np.bool_]],
    reference: NDArray[np.bool_],
    flattery: float = 0.0,
) -> Marks:
    """Marks from lists, in the order of the fractions."""
    order = np.argsort(np.asarray(fractions, np.float64), kind="stable")
    return Marks(np.asarray(fractions, np.float64)[order], np.array(pilots, np.bool_)[order], reference, flattery)
