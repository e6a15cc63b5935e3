"""The decision of a search: what the probes measured, weighed against what the prior expects.

The accuracy of a candidate is the prior's expectation plus a Gaussian process over weight, temperature, augmentation and
teacher. Probes see it with known noise: they are evaluated on the same validation samples, so that the covariance of their
accuracies is computed, not assumed, and a probe is a short training, whose order of candidates is not quite that of whole
ones. Where the probes cannot tell two candidates apart, the prior decides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.training_records import Candidate, CurvePoint, ProbeResult

AMPLITUDES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Points by which the truth differs from the prior; of these the most likely is taken, given the probes."""
USUAL_AMPLITUDE, AMPLITUDE_SPREAD = 1.5, 2.5
"""The amplitude is expected to be this one, within this factor: a few noisy probes alone do not say that the prior is
wrong."""
LENGTH = 0.5
"""KD weights that differ by this much, and temperatures by a factor of 5, have a correlation of exp(-1/2)."""
LABELS_ONLY_SPREAD = 6.0
"""Points by which labels alone may differ from the prior beyond that: how much a teacher helps at all says little about
which temperature or weight is best."""
AUGMENTATIONS = ("resized", "cutmix")
"""What an augmentation adds to the recipe's."""
SAME_KIND = 0.6
"""Correlation of what differs in its crops, in CutMix or in its teacher alone."""
FREE_LEVEL = 1e4
PROBE_NOISE = 0.5
"""Standard deviation, in points, of what a probe's accuracy says of a whole training, beyond its validation samples."""
WEIGHT_BIAS, TEMPERATURE_BIAS, AUGMENTATION_BIAS = 1.0, 1.0, 2.0
"""The same, in points, that all probes share which differ from the shared prefix in the same way, for a weight that differs
by 1, a temperature by a factor of 5, other crops, CutMix: what teaches more slowly loses early and wins late."""


@dataclass(frozen=True)
class Probes:
    """What probes got right: `correct` bool [probes, validation samples]; `weights` float64 of the samples, summing to 1."""

    candidates: Sequence[Candidate]
    correct: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """float64 [probes], in percent."""
        return np.asarray(100 * self.correct @ self.weights)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """float64 [probes, probes] of the accuracies, from the choice of the validation samples."""
        deviations = 100 * (self.correct - self.correct @ self.weights[:, None])
        return np.asarray((deviations * self.weights**2) @ deviations.T)


@dataclass(frozen=True)
class Posterior:
    """Expected accuracies float64 [candidates] in percent, and their covariance."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def best(self) -> int:
        """The number of the candidate with the largest expected accuracy; of equal ones the first."""
        return int(np.argmax(np.round(self.mean, 9)))

    def spread(self, other: int) -> NDArray[np.float64]:
        """Standard deviation float64 [candidates] of the difference to candidate number `other`."""
        variance = np.diag(self.covariance) - 2 * self.covariance[other] + self.covariance[other, other]
        return np.asarray(np.sqrt(np.maximum(variance, 0)))

    def expected_improvement(self) -> NDArray[np.float64]:
        """float64 [candidates]: points by which each is expected to be better than the best, counted where it is."""
        best, spread = self.best, np.maximum(self.spread(self.best), 1e-9)
        lead = (self.mean - self.mean[best]) / spread
        below = np.array([math.erf(x / math.sqrt(2)) / 2 + 0.5 for x in lead])
        return np.asarray(spread * (lead * below + np.exp(-(lead**2) / 2) / math.sqrt(2 * math.pi)))


def posterior(space: Sequence[Candidate], expected: NDArray[np.float64], probes: Probes, prefix: Candidate) -> Posterior:
    """The accuracies of all candidates of a `space` after some of them were probed.

    `expected` float64 [candidates] are the prior's accuracies, whose level has no meaning; `prefix` is what the training ran
    with until the probes branched off.
    """
    rows = [space.index(candidate) for candidate in probes.candidates]
    noise = probes.covariance + PROBE_NOISE**2 * np.eye(len(rows)) + _bias(probes.candidates, prefix)
    correlation, untaught = correlations(space), np.array([c.labels_only for c in space], np.float64)
    level = float(np.mean(probes.accuracies - expected[rows])) if rows else 0.0
    residual = probes.accuracies - expected[rows] - level
    posteriors = []
    for amplitude in AMPLITUDES:
        kernel = amplitude**2 * correlation + LABELS_ONLY_SPREAD**2 * np.outer(untaught, untaught) + FREE_LEVEL
        total, across = kernel[np.ix_(rows, rows)] + noise, kernel[:, rows]
        likelihood = -0.5 * (math.log(amplitude / USUAL_AMPLITUDE) / math.log(AMPLITUDE_SPREAD)) ** 2
        likelihood -= 0.5 * float(residual @ np.linalg.solve(total, residual) + np.linalg.slogdet(total)[1]) if rows else 0
        mean = expected + level + across @ np.linalg.solve(total, residual)
        posteriors.append((likelihood, Posterior(mean, kernel - across @ np.linalg.solve(total, across.T))))
    return max(posteriors, key=lambda pair: pair[0])[1]


def _bias(candidates: Sequence[Candidate], prefix: Candidate) -> NDArray[np.float64]:
    """float64 [probes, probes]: covariance of what probes misjudge together, for they differ from the prefix alike."""
    weights, temperatures = _coordinates([*candidates, prefix])
    kinds = [[kind in candidate.augmentation for candidate in [*candidates, prefix]] for kind in AUGMENTATIONS]
    others = [np.array(kind[:-1], np.float64) - kind[-1] for kind in kinds]
    differences = (
        (WEIGHT_BIAS, weights[:-1] - weights[-1]), (TEMPERATURE_BIAS, temperatures[:-1] - temperatures[-1]),
        *((AUGMENTATION_BIAS, other) for other in others),
    )  # fmt: skip
    return np.asarray(sum(bias**2 * np.outer(difference, difference) for bias, difference in differences))


def _coordinates(candidates: Sequence[Candidate]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and temperature float64 [candidates]; the temperature, log of base 5, is of no account at weight 0."""
    weights = np.array([candidate.weight for candidate in candidates])
    return weights, np.array([c.weight * math.log(c.temperature) / math.log(5) for c in candidates])


def correlations(space: Sequence[Candidate]) -> NDArray[np.float64]:
    """float64 [candidates, candidates]: how alike the errors of the prior are."""
    weight, temperature = _coordinates(space)
    distance = ((weight[:, None] - weight) / LENGTH) ** 2 + (temperature[:, None] - temperature) ** 2
    kinds = [[int(kind in candidate.augmentation) for candidate in space] for kind in AUGMENTATIONS]
    kinds.append([candidate.teacher for candidate in space])
    result = np.exp(-distance / 2)
    for codes in map(np.array, kinds):
        result = result * np.where(codes[:, None] == codes, 1.0, SAME_KIND)
    return np.asarray(result)


def response_curve(space: Sequence[Candidate], result: Posterior, chosen: Candidate) -> tuple[CurvePoint, ...]:
    """The fitted response to the KD weight, everything else as chosen; the bounds are of the difference to the chosen one.

    Where labels alone are chosen, it is that at the temperature and of the teacher that are best with them.
    """
    spread = result.spread(space.index(chosen))
    numbers = [k for k, candidate in enumerate(space) if candidate.augmentation == chosen.augmentation]
    taught = [k for k in numbers if not space[k].labels_only]
    if not taught:
        return ()
    best = chosen if not chosen.labels_only else space[max(taught, key=lambda k: result.mean[k])]
    on_curve = [
        k for k in numbers
        if space[k].labels_only or (space[k].temperature, space[k].teacher) == (best.temperature, best.teacher)
    ]  # fmt: skip
    return tuple(
        CurvePoint(weight=space[k].weight, accuracy=_percent(mean), low=_percent(mean - sd), high=_percent(mean + sd))
        for k in sorted(on_curve, key=lambda k: space[k].weight)
        for mean, sd in [(result.mean[k], spread[k])]
    )


def _percent(value: float) -> float:
    return round(float(value), 4)


def evaluate_probe(
    candidate: Candidate, correct: NDArray[np.bool_], weights: NDArray[np.float64], samples_seen: int, seconds: float
) -> ProbeResult:
    """The record of a probe from what it got right; arrays [validation samples]."""
    rate = float(correct @ weights)
    stderr = math.sqrt(float((correct - rate) ** 2 @ weights**2))
    return ProbeResult(
        **dict(candidate), accuracy=round(100 * rate, 4), stderr=round(100 * stderr, 4), samples_seen=samples_seen,
        seconds=seconds,
    )  # fmt: skip
