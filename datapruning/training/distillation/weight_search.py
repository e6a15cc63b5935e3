"""What `--kd-weight auto` decides by: its validation samples, its budget, and the response curve fitted to its probes.

The right KD weight falls as the fraction grows and rises with wrong labels, so it is measured in the run itself. Half
way through, the run is forked: each weight of a grid anneals a copy to rest in a few updates (a probe), every copy is
judged on samples the student has not trained on, and the run goes on with the best weight. How the run is forked is
`student.py`'s business; here is only what does not train.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from datapruning.config.kd import KDConfig
from datapruning.errors import InvalidValue
from datapruning.runs.result import CurvePoint, ProbeResult
from datapruning.utils.cost import FORWARD_PASS_COST
from datapruning.utils.hashing import hash_permutation

VALIDATION_KEY = 0x7A11D
MIN_TRAINED_SAMPLES = 2
MAX_HELD_OUT_FRACTION = 0.1
"""At most this share of the kept samples is set aside until the weight is chosen."""
LARGE_TRAINING_SAMPLES = 100_000
"""Training samples of a run from which on a search costs no more than `kd.search_budget` trainings."""
MAX_SEARCH_COST = 0.8
VALIDATION_BUDGET_FRACTION = 0.25
"""Share of the search's cost that goes to validation."""
RUN_NOISE = 0.15
"""Standard deviation, in points, of a probe's accuracy from all that is not the choice of validation samples."""
LENGTHS = (0.25, 0.5)
AMPLITUDES = (0.3, 1.0, 3.0, 10.0, 30.0)
PRIOR_CURVATURE = 1.0
"""Points that the prior expects to lose at a distance of 1 from its own weight: next to nothing, but it breaks ties."""


@dataclass(frozen=True)
class Candidate:
    """An objective that is tried.

    `trust`: labels count only as far as the teacher believes them (`Distillation`). `teacher`: which of the candidates.
    """

    weight: float
    temperature: float
    trust: bool
    teacher: int = 0

    def __str__(self) -> str:
        if self.weight == 0 and not self.trust:
            return "0 (labels alone)"
        which = f", teacher {self.teacher + 1}" if self.teacher else ""
        return f"{self.weight:g} at T={self.temperature:g}{which}{' (the teacher alone)' if self.weight == 1 else ''}"


LABELS_ONLY = Candidate(0.0, 1.0, trust=False)
"""Labels alone; there is no temperature in it."""


@dataclass(frozen=True)
class ValidationSet:
    """The samples that judge probes.

    `aside` are those of the kept samples among them; `share` is the share of all training samples that was kept, so that
    each group counts as much as it has weight in the full data: a clever scorer throws out what is easy, or what is hard.
    """

    pruned_ids: NDArray[np.int64]
    held_out_ids: NDArray[np.int64]
    kept_fraction: float

    @property
    def ids(self) -> NDArray[np.int64]:
        """All of them, the pruned-away ones first."""
        return np.concatenate([self.pruned_ids, self.held_out_ids])

    @property
    def weights(self) -> NDArray[np.float64]:
        """What each counts, [judges], summing to 1."""
        if not len(self.held_out_ids) or not len(self.pruned_ids):
            return np.full(len(self.ids), 1 / len(self.ids))
        parts = ((self.pruned_ids, 1 - self.kept_fraction), (self.held_out_ids, self.kept_fraction))
        return np.concatenate([np.full(len(ids), weight / len(ids)) for ids, weight in parts])

    @property
    def kind(self) -> str:
        """In words."""
        names = [name for name, ids in (("pruned-away", self.pruned_ids), ("set-aside", self.held_out_ids)) if len(ids)]
        return " and ".join(names)


def choose_validation_set(
    kept: NDArray[np.int64], total: int, count: int, seed: int, *, subset_is_random: bool, unreadable: Sequence[int] = ()
) -> ValidationSet:
    """About `count` samples that stand for the whole training set.

    Args:
        kept: sample ids of the subset.
        total: N.
        count: how many, at most.
        seed: of the draw.
        subset_is_random: kept and pruned-away samples differ by chance alone, so the pruned-away ones, which cost
            nothing, can stand for both.
        unreadable: sample ids that judge nothing.

    Raises:
        InvalidValue: too few would be left to train on.
    """
    pruned = hash_permutation(
        np.setdiff1d(np.arange(total), np.union1d(kept, np.array(unreadable, np.int64))), VALIDATION_KEY, seed
    )
    share = len(kept) / total
    most = max(1, math.floor(MAX_HELD_OUT_FRACTION * len(kept)))
    aside = 0 if subset_is_random and len(pruned) >= min(count, most) else min(most, max(1, round(count * share)))
    if len(pruned) and len(kept) - aside < MIN_TRAINED_SAMPLES:
        aside = 0
    if len(kept) - aside < MIN_TRAINED_SAMPLES:
        raise InvalidValue(
            f"the search for the KD weight needs at least {MIN_TRAINED_SAMPLES + 1} samples; give --kd-weight a number"
        )
    order = hash_permutation(kept, VALIDATION_KEY, seed)
    return ValidationSet(np.sort(pruned[: max(0, count - aside)]), np.sort(order[:aside]), share)


def search_cost(cost: float, samples: int) -> float:
    """What a search may cost, in trainings: `cost` for large runs, more for small ones, whose probes are noisier."""
    return min(MAX_SEARCH_COST, cost * max(1.0, math.sqrt(LARGE_TRAINING_SAMPLES / samples)))


def probe_budget(cost: float, samples: int, probes: int, most_judges: int) -> tuple[int, int]:
    """(judges, training samples a probe) that a search with so many probes can pay for.

    Args:
        cost: in trainings.
        samples: that the training sees.
        probes: how many.
        most_judges: the limit on judges.
    """
    each = cost * samples / probes
    judges = max(1, min(most_judges, int(VALIDATION_BUDGET_FRACTION * each / FORWARD_PASS_COST)))
    return judges, max(1, int(each - judges * FORWARD_PASS_COST))


PRIOR = 0.6


def prior_weight(grid: Sequence[float]) -> float:
    """The weight with which a run begins: of the grid, the nearest to 0.6."""
    return min(grid, key=lambda weight: abs(weight - PRIOR))


def probe_candidates(kd: KDConfig, teachers: int = 1) -> list[Candidate]:
    """What is probed: labels alone, the grid at the first temperature and teacher, the prior weight at the others."""
    first, *others = kd.temperatures
    prior = prior_weight(kd.weight_grid)
    arms = [
        LABELS_ONLY,
        *(Candidate(weight, first, kd.confidence_weighting and weight < 1) for weight in sorted(set(kd.weight_grid))),
        *(Candidate(prior, other, kd.confidence_weighting and prior < 1) for other in others),
        *(Candidate(prior, first, kd.confidence_weighting and prior < 1, teacher) for teacher in range(1, teachers)),
    ]
    return list(dict.fromkeys(LABELS_ONLY if (arm.weight, arm.trust) == (0, False) else arm for arm in arms))


def teacher_candidates(weight: float, temperature: float, teachers: int) -> list[Candidate]:
    """What is probed where the weight is given and the teacher is not."""
    return [Candidate(weight, temperature, trust=False, teacher=teacher) for teacher in range(teachers)]


def evaluate_probe(
    arm: Candidate, correct: NDArray[np.bool_], weights: NDArray[np.float64], samples_seen: int, seconds: float
) -> ProbeResult:
    """A trial from what its probe got right; arrays [judges]."""
    rate, stderr = _mean(correct, weights)
    return ProbeResult(
        **asdict(arm), accuracy=round(rate, 4), stderr=round(stderr, 4), samples_seen=samples_seen, seconds=seconds
    )


@dataclass(frozen=True)
class Decision:
    """The arm that won, and the response curve that its weight was read from."""

    candidate: Candidate
    curve: tuple[CurvePoint, ...]


def choose(
    arms: Sequence[Candidate], correct: NDArray[np.bool_], weights: NDArray[np.float64], temperature: float, prior: float
) -> Decision:
    """The top of the response curve; another temperature or teacher, or labels alone, where better by a standard error.

    Args:
        arms: of the probes.
        correct: bool [probes, judges].
        weights: of the judges, summing to 1.
        temperature: at which the curve was probed.
        prior: see `fit_response`.
    """
    trusting = any(arm.trust for arm in arms)
    of_curve = [k for k, arm in enumerate(arms) if _on_curve(arm, temperature, trusting)]
    curve = fit_response([arms[k].weight for k in of_curve], correct[of_curve], weights, prior)
    top = max(curve, key=lambda point: point.accuracy)
    best = Candidate(top.weight, temperature, trusting and top.weight < 1)

    def ahead(challenger: int, holder: int) -> float:
        """By how many standard errors."""
        difference, stderr = _mean(correct[challenger].astype(float) - correct[holder], weights)
        return difference / math.hypot(stderr, math.sqrt(2) * RUN_NOISE)

    by_weight = {arms[k].weight: k for k in of_curve}

    def leader(rivals: list[int]) -> Candidate | None:
        """The best of those that are ahead of the curve's probe at their weight."""
        lead = {k: ahead(k, by_weight[arms[k].weight]) for k in rivals}
        best_rival = max(rivals, key=lambda k: lead[k], default=None)
        return arms[best_rival] if best_rival is not None and lead[best_rival] > 1 else None

    others = [k for k, arm in enumerate(arms) if k not in of_curve and arm != LABELS_ONLY]
    hotter = leader([k for k in others if arms[k].teacher == 0])
    if hotter is not None:
        best = replace(best, temperature=hotter.temperature)
    wiser = leader([k for k in others if arms[k].teacher != 0])
    if wiser is not None:
        best = replace(best, teacher=wiser.teacher)
    if LABELS_ONLY in arms and arms.index(LABELS_ONLY) not in of_curve:
        nearest = min(of_curve, key=lambda k: abs(arms[k].weight - top.weight))
        if ahead(arms.index(LABELS_ONLY), nearest) > 1:
            best = LABELS_ONLY
    if (best.weight, best.trust) == (0, False):
        best = LABELS_ONLY
    return Decision(best, curve)


def _on_curve(arm: Candidate, temperature: float, trusting: bool) -> bool:
    """Whether the arm differs from the curve's others in its weight alone."""
    if arm == LABELS_ONLY:
        return not trusting
    return arm.temperature == temperature and arm.teacher == 0


def _mean(values: NDArray[np.generic], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted mean and its standard error, in percent."""
    numbers = values.astype(np.float64)
    mean = numbers @ weights
    return 100 * float(mean), 100 * math.sqrt(float((numbers - mean) ** 2 @ weights**2))


def fit_response(
    tried: Sequence[float], correct: NDArray[np.bool_], weights: NDArray[np.float64], prior: float
) -> tuple[CurvePoint, ...]:
    """The response curve: a Gaussian process through the probes' accuracies.

    The noise is known: probes are judged on the same samples, so the covariance of their accuracies is counted, not
    assumed. Amplitude and length of the process are the most likely ones on a small grid.

    Args:
        tried: the probes' weights.
        correct: bool [probes, judges].
        weights: of the judges, summing to 1.
        prior: the weight that is best if the probes say nothing.

    Returns:
        Points in steps of 0.05 over the range that was tried, and at the weights tried. Accuracies are absolute; the
        bounds are those of the difference to the chosen weight.
    """
    x = np.asarray(tried, np.float64)
    rates = 100 * correct @ weights
    deviations = 100 * (correct - correct @ weights[:, None])
    noise = (deviations * weights**2) @ deviations.T + RUN_NOISE**2 * np.eye(len(x))
    grid = np.unique(np.concatenate([x, np.round(np.arange(x.min(), x.max() + 1e-9, 0.05), 10)]))
    best: tuple[float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for length in LENGTHS:
        for amplitude in AMPLITUDES:
            found = _posterior(x, rates, noise, grid, prior, length, amplitude)
            if best is None or found[0] > best[0]:
                best = found
    assert best is not None
    _, mean, covariance = best
    top = int(np.argmax(mean))
    spread = np.sqrt(np.maximum(np.diag(covariance) - 2 * covariance[top] + covariance[top, top], 0))
    return tuple(
        CurvePoint(
            weight=round(float(w), 10), accuracy=round(float(m), 4), low=round(float(m - s), 4), high=round(float(m + s), 4)
        )
        for w, m, s in zip(grid, mean, spread, strict=True)
    )


def _posterior(
    x: NDArray[np.float64],
    rates: NDArray[np.float64],
    noise: NDArray[np.float64],
    grid: NDArray[np.float64],
    prior: float,
    length: float,
    amplitude: float,
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """(log likelihood, mean, covariance) on the grid. The level is free: a constant of large variance."""
    level = 1e4

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        shape = amplitude**2 * np.exp(-(((a[:, None] - b) / length) ** 2) / 2)
        return np.asarray(shape + level)

    def expected(a: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-PRIOR_CURVATURE * (a - prior) ** 2)

    centre = rates.mean()
    residual = rates - centre - expected(x)
    total = kernel(x, x) + noise
    solved = np.linalg.solve(total, residual)
    _, determinant = np.linalg.slogdet(total)
    across = kernel(grid, x)
    mean = centre + expected(grid) + across @ solved
    covariance = kernel(grid, grid) - across @ np.linalg.solve(total, across.T)
    return float(-0.5 * (residual @ solved + determinant)), mean, covariance
