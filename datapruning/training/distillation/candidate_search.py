"""Which candidate a search probes next, and which one it chooses; how probes are trained is the caller's affair.

Our own runs (`run_search.py`) and loops of users (`weight_search.py`) search by the same object.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.training_records import LABELS_ONLY, Candidate, ProbeResult, Regime
from datapruning.training.distillation.candidates import describe_difference
from datapruning.training.distillation.response import Posterior, Probes, posterior

MIN_IMPROVEMENT = 0.05
"""Points that the next probe must be expected to gain in any case."""
POINTS_OF_LONGER_TRAINING = 3.0
"""What a training longer by a factor of e gains, in points, about: a probe must be expected to gain more than its compute
would there."""


@dataclass(frozen=True)
class Proposal:
    """What a run begins with, and what it may change to.

    `space` are all candidates and `expected` float64 their accuracies by the prior, in points; `initial` is the best of
    them. `regime` is None where the KD weight is given; `held` is what may not be chosen.
    """

    initial: Candidate
    space: Sequence[Candidate]
    expected: NDArray[np.float64]
    regime: Regime | None
    held: tuple[str, ...]

    def describe(self) -> str:
        """The regime and what the prior proposes for it, in words."""
        regime = self.regime
        assert regime is not None
        return (
            f"KD weight: {regime.kept_per_class:.1f} kept samples a class, {regime.epochs:,.0f} epochs; the teacher agrees "
            f"with {regime.agreement:.1%} of their labels (mean confidence {regime.confidence:.2f}) and holds about "
            f"{regime.wrong_labels:.0%} to be wrong; the prior proposes {self.initial}"
        )


class CandidateSearch:
    """The probes so far, and what follows from them.

    `validation_weights` float64 [validation samples] sum to 1; `probe_cost` is that of a probe, in trainings. Ask for
    `next_candidate()`, train and evaluate a probe of it, `add` its result, until there is none; then `posterior()` has the
    best candidate.
    """

    def __init__(
        self, proposal: Proposal, validation_weights: NDArray[np.float64], max_probes: int, probe_cost: float
    ) -> None:
        self.proposal, self._weights = proposal, validation_weights
        self.max_probes = min(len(proposal.space), max_probes)
        self._min_improvement = max(MIN_IMPROVEMENT, POINTS_OF_LONGER_TRAINING * probe_cost)
        self.results: list[ProbeResult] = []
        self._correct: list[NDArray[np.bool_]] = []

    def next_candidate(self) -> Candidate | None:
        """The candidate to probe next; None: no more.

        What the prior proposes and labels alone come first, so that a teacher that does harm is noticed in any regime; where
        the prior proposes labels alone, the best candidate with a teacher, so that one that helps is noticed.
        """
        space, initial = self.proposal.space, self.proposal.initial
        labels_only = LABELS_ONLY.model_copy(update={"augmentation": initial.augmentation})
        taught = [number for number, candidate in enumerate(space) if not candidate.labels_only]
        if initial.labels_only and taught:
            first = [initial, space[max(taught, key=lambda number: self.proposal.expected[number])]]
        else:
            first = [candidate for candidate in dict.fromkeys([initial, labels_only]) if candidate in space]
        if len(self.results) >= self.max_probes:
            return None
        if len(self.results) < len(first):
            return first[len(self.results)]
        gain = self.posterior().expected_improvement()
        probed = {result.candidate for result in self.results}
        gain[[candidate in probed for candidate in space]] = 0
        best = int(np.argmax(np.round(gain, 9)))
        return space[best] if gain[best] > self._min_improvement else None

    def add(self, result: ProbeResult, correct: NDArray[np.bool_]) -> None:
        """Add the result of a probe, and the validation samples that it got right, bool [validation samples]."""
        self.results.append(result)
        self._correct.append(correct)

    def posterior(self) -> Posterior:
        """What is known of the accuracies of all candidates."""
        probes = Probes([result.candidate for result in self.results], np.array(self._correct, np.bool_), self._weights)
        return posterior(self.proposal.space, self.proposal.expected, probes, self.proposal.initial)

    @property
    def all_probes_agree(self) -> bool:
        """Whether several probes got the same validation samples right, all of them."""
        return len(self._correct) > 1 and all(np.array_equal(correct, self._correct[0]) for correct in self._correct)

    def describe_choice(self, chosen: Candidate) -> str:
        """What is chosen, and instead of what, in words."""
        difference = describe_difference(chosen, self.proposal.initial)
        instead = f"instead of {difference}, which the prior proposed" if difference else "as the prior proposed"
        is_probed = any(result.candidate == chosen for result in self.results)
        why = (
            ""
            if is_probed
            else ": not probed itself, but by the probes of others and the prior it is expected to be the best"
        )
        return f"KD weight {chosen} is chosen, {instead}{why}"
