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

Measure = Literal["samples", "seconds"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
OWN_PARTS = ("train", "search", "self_teacher", "self_soft_labels", "prune")
"""Parts of the work, as result.json names them, that every student pays for itself."""
SHARED_PARTS = ("teacher", "soft labels", "scoring")
"""What is paid once, however many students follow."""


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
        shared: What is paid once, by `SHARED_PARTS`, as far as the runs need it.
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
    by_part: dict[str, list[RecordedCost]] = {}
    for run in runs:
        for part, cost in _run_costs(run).items():
            by_part.setdefault(part, []).append(cost)
    costs = {part: _combine(by_part[part], max if part in SHARED_PARTS else statistics.mean) for part in by_part}
    shared = {part: costs[part] for part in SHARED_PARTS if part in costs}
    if shared.get("scoring") == ZERO_COST:
        del shared["scoring"]
    return GroupCost(costs["student"], costs["search"], costs["prune"], shared)


def _run_costs(run: RunRecord) -> dict[str, RecordedCost]:
    """What a run paid for itself ("student", and of that "search" and "prune"), and what it shares with others."""
    recorded = {
        part: RecordedCost(cost.training_passes, cost.seconds) for part, cost in run.result.costs if cost is not None
    }
    costs = {part: recorded.get(part, ZERO_COST) for part in ("search", "prune")}
    costs["student"] = sum((recorded.get(part, ZERO_COST) for part in OWN_PARTS), ZERO_COST)
    if run.kd != NO_KD:
        teacher = recorded.get("teacher", UNKNOWN_COST)  # of all candidates, where one was chosen
        costs["teacher"] = (
            RecordedCost(0.0, None) if teacher == ZERO_COST else teacher
        )  # a file does not say how long it took
        costs["soft labels"] = recorded.get("soft_labels", UNKNOWN_COST)
    if not run.is_full:  # scorers that share evidence are charged all of it, each
        needs_no_evidence = run.result.scorer == "random" or run.subset_scores is not None
        costs["scoring"] = recorded.get("scoring", ZERO_COST if needs_no_evidence else UNKNOWN_COST)
    return costs


def _add(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _combine(costs: Sequence[RecordedCost], combine: Callable[[list[float]], float]) -> RecordedCost:
    """Each measure over the runs that know it."""
    known = [[value for cost in costs if (value := cost.measure(name)) is not None] for name in MEASURES]
    return RecordedCost(*(combine(values) if values else None for values in known))


def break_even(per_student: float | None, one_time: float | None, full_data: float | None) -> float | None:
    """The smallest number of students k for which one_time + k * per_student is below k * full_data, a full training's cost.

    Infinity where it never pays off; None where one of the costs is not known.
    """
    if per_student is None or full_data is None:
        return None
    if per_student >= full_data:
        return math.inf
    return None if one_time is None else math.floor(one_time / (full_data - per_student)) + 1
