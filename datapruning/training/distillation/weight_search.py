"""How the KD weight is chosen: validation samples, budget, candidates, and the response curve fitted to the probes.

The best KD weight falls as the fraction grows and rises with wrong labels, so it is measured in the run itself, by short
probes that branch off half way (`run_search.py`) and are evaluated on samples that the student has not trained on. The
run continues with the best weight. Nothing is trained here.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from datapruning.config.kd import KDConfig
from datapruning.errors import InvalidValue
from datapruning.runs.training_records import CurvePoint, ProbeResult
from datapruning.utils.cost import FORWARD_PASS_COST
from datapruning.utils.hashing import hash_permutation

VALIDATION_KEY = 0x7A11D
MIN_TRAINED_SAMPLES = 2
MAX_HELD_OUT_FRACTION = 0.1
"""Largest share of the kept samples that is held out until the weight is chosen."""
LARGE_TRAINING_SAMPLES = 100_000
"""Training samples of a run from which on a search costs no more than `kd.search_budget` trainings."""
MAX_SEARCH_COST = 0.8
VALIDATION_BUDGET_FRACTION = 0.25
"""Share of the search's cost that goes to validation."""
RUN_NOISE = 0.15
"""Standard deviation, in points, of a probe's accuracy from all that is not the choice of validation samples."""
LENGTHS = (0.25, 0.5)
AMPLITUDES = (0.3, 1.0, 3.0, 10.0, 30.0)
FREE_LEVEL = 1e4
PRIOR_CURVATURE = 1.0
"""Points that the prior expects to lose at a distance of 1 from its own weight: next to nothing, but it breaks ties."""


@dataclass(frozen=True)
class Candidate:
    """A loss that is tried: KD weight 0 (labels alone) to 1 (teacher alone), and the teacher's number, counted from 0.

    See `DistillationLoss` for `temperature` and `confidence_weighting`.
    """

    weight: float
    temperature: float
    confidence_weighting: bool
    teacher: int = 0

    @property
    def labels_only(self) -> bool:
        """Whether the teacher has no influence."""
        return self.weight == 0 and not self.confidence_weighting

    def __str__(self) -> str:
        if self.labels_only:
            return "0 (labels alone)"
        teacher = f", teacher {self.teacher + 1}" if self.teacher else ""
        return f"{self.weight:g} at T={self.temperature:g}{teacher}{' (the teacher alone)' if self.weight == 1 else ''}"


LABELS_ONLY = Candidate(0.0, 1.0, confidence_weighting=False)
"""Labels alone; the temperature has no meaning."""


@dataclass(frozen=True)
class ValidationSet:
    """The samples that probes are evaluated on: pruned-away ones, and kept ones that are held out until the decision.

    Both count as much as they do in the full training set, of which the share `kept_fraction` is kept, because a good
    scorer prunes away what is easy, or what is hard. Sample ids are int64.
    """

    pruned_ids: NDArray[np.int64]
    held_out_ids: NDArray[np.int64]
    kept_fraction: float

    @property
    def ids(self) -> NDArray[np.int64]:
        """All sample ids int64, the pruned-away ones first."""
        return np.concatenate([self.pruned_ids, self.held_out_ids])

    @property
    def weights(self) -> NDArray[np.float64]:
        """float64, the weight of each sample; they sum to 1."""
        if not len(self.held_out_ids) or not len(self.pruned_ids):
            return np.full(len(self.ids), 1 / len(self.ids))
        groups = ((self.pruned_ids, 1 - self.kept_fraction), (self.held_out_ids, self.kept_fraction))
        return np.concatenate([np.full(len(ids), weight / len(ids)) for ids, weight in groups])

    @property
    def kind(self) -> str:
        """Which samples they are, in words."""
        names = [name for name, ids in (("pruned-away", self.pruned_ids), ("set-aside", self.held_out_ids)) if len(ids)]
        return " and ".join(names)


def choose_validation_set(
    kept: NDArray[np.int64], total: int, count: int, seed: int, *, subset_is_random: bool, unreadable: Sequence[int] = ()
) -> ValidationSet:
    """At most `count` samples that represent the full training set of `total` samples.

    With `subset_is_random`, kept and pruned-away samples differ by chance alone, so the pruned-away ones, which are not
    trained on anyway, represent both. Samples that are `unreadable` cannot be validated on.

    Raises:
        InvalidValue: too few would be left to train on.
    """
    pruned = hash_permutation(
        np.setdiff1d(np.arange(total), np.union1d(kept, np.array(unreadable, np.int64))), VALIDATION_KEY, seed
    )
    kept_fraction = len(kept) / total
    max_held_out = max(1, math.floor(MAX_HELD_OUT_FRACTION * len(kept)))
    held_out = min(max_held_out, max(1, round(count * kept_fraction)))
    too_few_left = len(pruned) > 0 and len(kept) - held_out < MIN_TRAINED_SAMPLES
    if too_few_left or (subset_is_random and len(pruned) >= min(count, max_held_out)):
        held_out = 0
    if len(kept) - held_out < MIN_TRAINED_SAMPLES:
        raise InvalidValue(
            f"the search for the KD weight needs at least {MIN_TRAINED_SAMPLES + 1} samples; give the weight as a number",
            parameter="kd_weight",
        )
    order = hash_permutation(kept, VALIDATION_KEY, seed)
    return ValidationSet(np.sort(pruned[: max(0, count - held_out)]), np.sort(order[:held_out]), kept_fraction)


def search_cost(cost: float, samples: int) -> float:
    """What a search may cost, in trainings: `cost` for large runs, more for small ones, whose probes are noisier."""
    return min(MAX_SEARCH_COST, cost * max(1.0, math.sqrt(LARGE_TRAINING_SAMPLES / samples)))


def probe_budget(cost: float, samples: int, probes: int, max_validation_samples: int) -> tuple[int, int]:
    """(validation samples, training samples a probe) that so many probes may have.

    `cost` of the search is in trainings, each of which sees so many `samples`.
    """
    budget = cost * samples / probes  # of one probe, in training passes
    validation = max(1, min(max_validation_samples, int(VALIDATION_BUDGET_FRACTION * budget / FORWARD_PASS_COST)))
    return validation, max(1, int(budget - validation * FORWARD_PASS_COST))


def prior_weight(grid: Sequence[float]) -> float:
    """The weight that a run begins with: of the grid, the nearest to 0.6."""
    return min(grid, key=lambda weight: abs(weight - 0.6))


def probe_candidates(kd: KDConfig, teachers: int = 1) -> list[Candidate]:
    """What is probed: labels alone, the grid at the first temperature and teacher, the prior weight at the others."""
    first, *others = kd.temperatures
    prior = prior_weight(kd.weight_grid)
    candidates = [
        LABELS_ONLY,
        *(Candidate(weight, first, kd.confidence_weighting and weight < 1) for weight in sorted(set(kd.weight_grid))),
        *(Candidate(prior, other, kd.confidence_weighting and prior < 1) for other in others),
        *(Candidate(prior, first, kd.confidence_weighting and prior < 1, teacher) for teacher in range(1, teachers)),
    ]
    return list(dict.fromkeys(LABELS_ONLY if candidate.labels_only else candidate for candidate in candidates))


def evaluate_probe(
    candidate: Candidate, correct: NDArray[np.bool_], weights: NDArray[np.float64], samples_seen: int, seconds: float
) -> ProbeResult:
    """The record of a probe from what it got right; arrays [validation samples]."""
    rate, stderr = _mean(correct, weights)
    return ProbeResult(
        **asdict(candidate), accuracy=round(rate, 4), stderr=round(stderr, 4), samples_seen=samples_seen, seconds=seconds
    )


@dataclass(frozen=True)
class Probes:
    """What probes got right: `correct` bool [probes, validation samples]; `weights` float64 of the samples, summing to 1."""

    candidates: Sequence[Candidate]
    correct: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @property
    def confidence_weighting(self) -> bool:
        """Whether the probes with a teacher weigh labels by its confidence."""
        return any(candidate.confidence_weighting for candidate in self.candidates)

    def curve(self, temperature: float) -> list[int]:
        """The probes that differ in their weight alone; labels alone is one of them unless confidence is weighted."""
        return [
            k
            for k, candidate in enumerate(self.candidates)
            if (candidate == LABELS_ONLY and not self.confidence_weighting)
            or (candidate != LABELS_ONLY and candidate.temperature == temperature and candidate.teacher == 0)
        ]

    def lead(self, challenger: int, incumbent: int) -> float:
        """By how many standard errors a probe is better than another; both count from 0."""
        difference, stderr = _mean(self.correct[challenger].astype(float) - self.correct[incumbent], self.weights)
        return difference / math.hypot(stderr, math.sqrt(2) * RUN_NOISE)

    def best_challenger(self, challengers: Sequence[int], curve: Sequence[int]) -> Candidate | None:
        """The challenger that leads most over the probe of its weight on the curve, if by more than a standard error."""
        incumbents = {self.candidates[k].weight: k for k in curve}
        lead = {k: self.lead(k, incumbents[self.candidates[k].weight]) for k in challengers}
        best = max(challengers, key=lambda k: lead[k], default=None)
        return self.candidates[best] if best is not None and lead[best] > 1 else None


def decide(probes: Probes, prior: Candidate) -> tuple[Candidate, tuple[CurvePoint, ...]]:
    """The top of the response curve; another temperature or teacher, or labels alone, if better by a standard error.

    The run began with the `prior`: the curve has its temperature, and its weight is best where the probes do not differ.
    Returns the candidate, and the curve that its weight was read from.
    """
    candidates, on_curve = probes.candidates, probes.curve(prior.temperature)
    curve = fit_response([candidates[k].weight for k in on_curve], probes.correct[on_curve], probes.weights, prior.weight)
    weight = max(curve, key=lambda point: point.accuracy).weight
    best = Candidate(weight, prior.temperature, probes.confidence_weighting and weight < 1)
    challengers = [k for k, candidate in enumerate(candidates) if k not in on_curve and candidate != LABELS_ONLY]
    other_temperatures = [k for k in challengers if candidates[k].teacher == 0]
    if winner := probes.best_challenger(other_temperatures, on_curve):
        best = replace(best, temperature=winner.temperature)
    if winner := probes.best_challenger([k for k in challengers if k not in other_temperatures], on_curve):
        best = replace(best, teacher=winner.teacher)
    if LABELS_ONLY in candidates and candidates.index(LABELS_ONLY) not in on_curve:
        nearest = min(on_curve, key=lambda k: abs(candidates[k].weight - best.weight))
        if probes.lead(candidates.index(LABELS_ONLY), nearest) > 1:
            best = LABELS_ONLY
    return LABELS_ONLY if best.labels_only else best, curve


def _mean(values: NDArray[np.generic], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted mean and its standard error, in percent."""
    numbers = values.astype(np.float64)
    mean = numbers @ weights
    return 100 * float(mean), 100 * math.sqrt(float((numbers - mean) ** 2 @ weights**2))


def fit_response(
    tried: Sequence[float], correct: NDArray[np.bool_], weights: NDArray[np.float64], prior: float
) -> tuple[CurvePoint, ...]:
    """The response curve: a Gaussian process through the probes' accuracies.

    The noise is known: probes are evaluated on the same samples, so the covariance of their accuracies is computed, not
    assumed. Amplitude and length of the process are the most likely ones on a small grid. See `Probes` for `correct` and
    `weights`; the weight `prior` is best if the probes do not differ.

    Returns:
        Points in steps of 0.05 over the range that was tried, and at the weights tried. Accuracies are absolute; the
        bounds are those of the difference to the chosen weight.
    """
    x = np.asarray(tried, np.float64)
    rates = 100 * correct @ weights
    deviations = 100 * (correct - correct @ weights[:, None])
    noise = (deviations * weights**2) @ deviations.T + RUN_NOISE**2 * np.eye(len(x))
    grid = np.unique(np.concatenate([x, np.round(np.arange(x.min(), x.max() + 1e-9, 0.05), 10)]))
    centre = rates.mean()
    residual = rates - centre - _expected(x, prior)

    def posterior(length: float, amplitude: float) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """(log likelihood, mean, covariance) on the grid."""
        kernel = partial(_kernel, length=length, amplitude=amplitude)
        total, across = kernel(x, x) + noise, kernel(grid, x)
        solved, (_, determinant) = np.linalg.solve(total, residual), np.linalg.slogdet(total)
        mean = centre + _expected(grid, prior) + across @ solved
        covariance = kernel(grid, grid) - across @ np.linalg.solve(total, across.T)
        return float(-0.5 * (residual @ solved + determinant)), mean, covariance

    posteriors = [posterior(length, amplitude) for length in LENGTHS for amplitude in AMPLITUDES]
    _, mean, covariance = max(posteriors, key=lambda posterior: posterior[0])
    top = int(np.argmax(mean))
    spread = np.sqrt(np.maximum(np.diag(covariance) - 2 * covariance[top] + covariance[top, top], 0))
    return tuple(
        CurvePoint(
            weight=round(float(w), 10), accuracy=round(float(m), 4), low=round(float(m - s), 4), high=round(float(m + s), 4)
        )
        for w, m, s in zip(grid, mean, spread, strict=True)
    )


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64], length: float, amplitude: float) -> NDArray[np.float64]:
    """The covariance of the curve at weights `a` and `b`. Its level is free: a constant of large variance."""
    return np.asarray(amplitude**2 * np.exp(-(((a[:, None] - b) / length) ** 2) / 2) + FREE_LEVEL)


def _expected(weights: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    return np.asarray(-PRIOR_CURVATURE * (weights - prior) ** 2)
