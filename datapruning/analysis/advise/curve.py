"""The learning curve through the pilots, and the smallest fraction that it puts within a tolerance.

error(f) = floor + scale * f^-power, all three at least 0, in points of accuracy. The reference, a training on everything
without KD, is no point of the curve: the curve is compared with it. The gap of a pilot to the reference is paired, sample
by sample, so that hard hold-out samples count against neither.

The prior: keeping everything, with a teacher, is about as good as keeping everything without one. It determines the curve
where pilots are few or noisy, and yields to them where they are not.

Uncertainty is estimated by a bootstrap: a draw resamples the hold-out, shifts every run by the noise between runs, and
fits anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_KEY = 0xAD715E
NUM_DRAWS = 1000
CONFIDENCE = 0.8
POWERS = np.geomspace(0.1, 3.0, 36)
PRIOR_POWER, PRIOR_POWER_STDDEV = 0.5, 0.8
"""Log-normal prior of the power. Two pilots do not determine it; five are enough to overrule the prior."""
RELATIVE_MISFIT = 0.1
"""How far a pilot may lie off a true power law, relative to its distance to the tolerance: pilots near the answer count
most."""
MIN_KD_STDDEV, RELATIVE_KD_STDDEV = 0.5, 0.1
"""Standard deviation of the effect of KD where everything is kept: in points at least, and relative to the reference's
error."""

LEAKAGE_SHARE = 0.5
"""A student gains at most this share of its teacher's advantage on samples that the teacher was trained on: 0.1 of it at
fraction 0.1, 0.4 at 0.5 (`benchmarks/advise.py`)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PilotResults:
    """The measurements of all pilots and of the reference.

    Attributes:
        fractions: Float64 [pilots], rising.
        pilots: Bool [pilots, holdout], which hold-out samples each pilot classifies correctly.
        reference: Bool [holdout], the same of the reference.
        leakage_correction: Points by which pilots may look better than they are because their teacher was trained on
            the hold-out; the true number lies between 0 and this.
    """

    fractions: Floats
    pilots: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    leakage_correction: float = 0.0

    @property
    def gaps(self) -> Floats:
        """Points by which each pilot is worse than the reference, [pilots], with half of the leakage correction."""
        gaps: Floats = 100 * (self.reference.mean() - self.pilots.mean(axis=1)) + self.leakage_correction / 2
        return gaps

    @property
    def stderrs(self) -> Floats:
        """Standard error of each gap from the draw of the hold-out alone, [pilots]."""
        short = 100.0 * (self.reference.astype(np.int64) - self.pilots.astype(np.int64))
        errors: Floats = short.std(axis=1) / np.sqrt(len(self.reference))
        return errors


def leakage_correction(reference: float, given_teachers: Sequence[float]) -> float:
    """Return the points by which pilots may be overestimated, because given teachers may have memorised the hold-out.

    Args:
        reference: Its accuracy on the hold-out, in percent.
        given_teachers: Those of the teachers that the user names; none: 0.
    """
    if not given_teachers:
        return 0.0
    lead = sum(given_teachers) / len(given_teachers) - reference
    return round(LEAKAGE_SHARE * max(float(lead), 0.0), 4)


def run_noise(error: Floats) -> Floats:
    """Standard deviation, in points, of the accuracy of runs that differ by seed and subset, measured on Fashion-MNIST."""
    return 0.06 * np.sqrt(np.maximum(error, 0.0))


@dataclass(frozen=True)
class Curve:
    """Bootstrapped curves; every array is float64 [draws], in points."""

    floor: Floats
    scale: Floats
    power: Floats
    reference: Floats

    def gap(self, fraction: float) -> Floats:
        """Points by which each curve is worse than the reference at a fraction, [draws]."""
        gap: Floats = self.floor + self.scale * fraction**-self.power - self.reference
        return gap

    def crossing(self, tolerance: float) -> Floats:
        """The fraction at which each curve comes within the tolerance, [draws]; infinite where none does."""
        room = self.reference + tolerance - self.floor
        with np.errstate(divide="ignore", over="ignore"):
            fractions = np.where(room > 0, self.scale / np.where(room > 0, room, 1.0), np.inf) ** (1 / self.power)
        return np.asarray(fractions, np.float64)


def fit_curve(results: PilotResults, tolerance: float, seed: int = 0) -> Curve:
    """Fit every bootstrap draw, most exactly where the gap is near the tolerance.

    Args:
        results: Of two pilots or more.
        tolerance: In points of accuracy.
        seed: Random seed of the bootstrap.
    """
    random = np.random.default_rng([BOOTSTRAP_KEY, seed])
    num_holdout = len(results.reference)
    patterns, counts = _patterns(np.vstack([results.pilots, results.reference]))
    weights = random.multinomial(num_holdout, counts / num_holdout, size=NUM_DRAWS) / num_holdout
    errors = 100 * (1 - weights @ patterns.astype(np.float64))
    errors += run_noise(errors) * random.standard_normal(errors.shape)
    errors[:, :-1] += results.leakage_correction * random.random((NUM_DRAWS, 1))
    variance = run_noise(100 * (1 - results.pilots.mean(axis=1))) ** 2 + results.stderrs**2
    precision = 1 / (variance + (RELATIVE_MISFIT * (results.gaps - tolerance)) ** 2)
    kd_stddev = max(MIN_KD_STDDEV, RELATIVE_KD_STDDEV * 100 * (1 - float(results.reference.mean())))
    full = errors[:, -1:] + kd_stddev * random.standard_normal((NUM_DRAWS, 1))
    floor, scale, power = power_law(
        np.append(results.fractions, 1.0), np.hstack([errors[:, :-1], full]), np.append(precision, kd_stddev**-2)
    )
    return Curve(floor, scale, power, errors[:, -1])


def power_law(fractions: Floats, errors: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit error = floor + scale * fraction^-power by weighted least squares with non-negative parameters.

    For a given power, floor and scale have a closed form; the powers of a grid are compared.

    Args:
        fractions: [pilots].
        errors: [draws, pilots].
        weights: [pilots].

    Returns:
        floor, scale and power, each [draws].
    """
    share = weights / weights.sum()
    lowest = np.full(len(errors), np.inf)
    best = np.zeros((3, len(errors)))
    for power in POWERS:
        x = fractions**-power
        mean_x, mean_y = share @ x, errors @ share
        variance = share @ (x - mean_x) ** 2
        scale = np.maximum((errors - mean_y[:, None]) @ (share * (x - mean_x)) / max(variance, 1e-12), 0.0)
        floor = mean_y - scale * mean_x
        through_zero = np.maximum(errors @ (share * x) / (share @ x**2), 0.0)
        scale, floor = np.where(floor < 0, through_zero, scale), np.maximum(floor, 0.0)
        misfit = (errors - floor[:, None] - scale[:, None] * x) ** 2 @ weights
        misfit += (np.log(power / PRIOR_POWER) / PRIOR_POWER_STDDEV) ** 2
        better = misfit < lowest
        lowest = np.where(better, misfit, lowest)
        best = np.where(better, [floor, scale, np.full(len(floor), power)], best)
    return best[0], best[1], best[2]


def _patterns(correct: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Group hold-out samples that the same runs get right, which makes drawing them cheap.

    Returns:
        bool [patterns, runs], and how many samples have each pattern.
    """
    bits = np.arange(len(correct))
    codes, counts = np.unique((correct << bits[:, None]).sum(axis=0), return_counts=True)
    return (codes[:, None] >> bits & 1).astype(np.bool_), counts


def interval(draws: Floats, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return (median, low, high) of draws; infinite draws count as they are."""
    low, median, high = np.quantile(draws, [(1 - confidence) / 2, 0.5, (1 + confidence) / 2], method="nearest")
    return float(median), float(low), float(high)


def sorted_results(
    fractions: Sequence[float],
    pilots: Sequence[NDArray[np.bool_]],
    reference: NDArray[np.bool_],
    leakage_correction: float = 0.0,
) -> PilotResults:
    """Return the results of pilots given in any order."""
    order = np.argsort(np.asarray(fractions, np.float64), kind="stable")
    sorted_fractions, correct = np.asarray(fractions, np.float64)[order], np.array(pilots, np.bool_)[order]
    return PilotResults(sorted_fractions, correct, reference, leakage_correction)
