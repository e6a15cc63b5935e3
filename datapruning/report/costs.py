"""What a student costs: its own training and search, and what is paid once and shared (teacher, scoring, soft labels).

Counted in samples (a sample that is only passed forward counts as a third of one that is trained on: forward and
backward together cost about three forward passes) and in seconds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from datapruning.report.run_records import NO_KD, RunRecord
from datapruning.utils.cost import ComputeCost

Measure = Literal["samples", "seconds"]
Part = Literal["train", "search", "self_teacher", "self_soft_labels", "prune", "teacher", "soft_labels", "scoring"]
"""The parts of the work, as result.json names them."""
MEASURES: tuple[Measure, ...] = get_args(Measure)
OWN_PARTS: tuple[Part, ...] = ("train", "search", "self_teacher", "self_soft_labels", "prune")
"""What every student pays for itself."""


@dataclass(frozen=True)
class RecordedCost:
    """Samples in training passes (a forward pass is a third of one) and seconds. None: not known."""

    samples: float | None = 0.0
    seconds: float | None = 0.0

    def __add__(self, other: RecordedCost) -> RecordedCost:
        return RecordedCost(_add(self.samples, other.samples), _add(self.seconds, other.seconds))

    def measure(self, name: Measure) -> float | None:
        """Samples or seconds, by name."""
        return self.samples if name == "samples" else self.seconds


ZERO_COST, UNKNOWN_COST = RecordedCost(), RecordedCost(None, None)


@dataclass(frozen=True)
class GroupCost:
    """The cost of a group of runs that differ in their seed alone.

    Attributes:
        per_student: What one student pays for itself, mean over the runs.
        search: The part of `per_student` that the search for the KD weight takes.
        prune: The part of `per_student` that pruning its weights takes.
        shared: What is paid once, however many students follow, by "teacher", "scoring" and "soft labels".
    """

    per_student: RecordedCost
    search: RecordedCost
    prune: RecordedCost
    shared: Mapping[str, RecordedCost]

    @property
    def one_time(self) -> RecordedCost:
        """All that is paid once."""
        return sum(self.shared.values(), ZERO_COST)


def group_cost(runs: Sequence[RunRecord]) -> GroupCost:
    """The cost of runs that differ in their seed alone.

    A run that found a shared artifact in the workspace may record less of it than the one that made it, so that of
    shared costs the largest counts.
    """
    per_student = [sum((recorded_cost(run, part) or ZERO_COST for part in OWN_PARTS), ZERO_COST) for run in runs]
    search = [recorded_cost(run, "search") or ZERO_COST for run in runs]
    prune = [recorded_cost(run, "prune") or ZERO_COST for run in runs]
    shared = {}
    if any(run.kd != NO_KD for run in runs):
        shared["teacher"] = _combine([_teacher_cost(run) for run in runs], max)
        shared["soft labels"] = _combine([recorded_cost(run, "soft_labels") or UNKNOWN_COST for run in runs], max)
    scoring = _combine([_scoring_cost(run) for run in runs], max)
    if scoring != ZERO_COST:
        shared["scoring"] = scoring
    mean_own, mean_search, mean_prune = (_combine(costs, statistics.mean) for costs in (per_student, search, prune))
    return GroupCost(mean_own, mean_search, mean_prune, shared)


def recorded_cost(run: RunRecord, part: Part) -> RecordedCost | None:
    """What result.json records of a part of the work; None where it records nothing."""
    cost: ComputeCost | None = getattr(run.result.costs, part)
    return None if cost is None else RecordedCost(cost.training_passes, cost.seconds)


def break_even(per_student: float | None, one_time: float | None, full_data: float | None) -> float | None:
    """The smallest number of students k for which one_time + k * per_student is below k * full_data.

    Args:
        per_student: What each student costs.
        one_time: What is paid once.
        full_data: What a training on all the data costs.

    Returns:
        k; infinity where it never pays off; None where one of the costs is not known.
    """
    if per_student is None or full_data is None:
        return None
    if per_student >= full_data:
        return math.inf
    return None if one_time is None else math.floor(one_time / (full_data - per_student)) + 1


def _teacher_cost(run: RunRecord) -> RecordedCost:
    """Training of the teachers (of all candidates, where one was chosen). How long a file's took is not known."""
    cost = recorded_cost(run, "teacher") or UNKNOWN_COST
    return RecordedCost(0.0, None) if cost == ZERO_COST else cost


def _scoring_cost(run: RunRecord) -> RecordedCost:
    """All of the evidence that the scorer reads. Scorers that share evidence are charged all of it, each."""
    if run.is_full:
        return ZERO_COST
    cost = recorded_cost(run, "scoring")
    if cost is not None:
        return cost
    needs_no_evidence = run.result.scorer == "random" or run.subset_scores is not None
    return ZERO_COST if needs_no_evidence else UNKNOWN_COST


def _add(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _combine(costs: Sequence[RecordedCost], combine: Callable[[list[float]], float]) -> RecordedCost:
    """Each measure over the runs that know it."""
    known = [[value for cost in costs if (value := cost.measure(name)) is not None] for name in MEASURES]
    return RecordedCost(*(combine(values) if values else None for values in known))
