"""What a student costs: training, search and soft labels, and what is paid once and shared (teacher, scoring).

Counted in floating-point operations (training passes, and a third of one for every forward pass, each weighted by the
operations of its network) and in seconds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from datapruning.report.run_records import NO_KD, RunRecord

Measure = Literal["compute", "seconds"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
OWN_PARTS = ("train", "search", "self_teacher", "self_soft_labels", "prune")
"""Parts of the work, as result.json names them, that every student does for itself."""
SHARED_PARTS = ("teacher", "scoring", "soft labels")
"""What is done once, however many students follow: soft labels by those that keep the same samples."""


@dataclass(frozen=True)
class RecordedCost:
    """Floating-point operations and seconds. None: not known."""

    flops: float | None = 0.0
    seconds: float | None = 0.0

    def __add__(self, other: RecordedCost) -> RecordedCost:
        return RecordedCost(_add(self.flops, other.flops), _add(self.seconds, other.seconds))

    def measure(self, name: Measure) -> float | None:
        """Operations ("compute") or seconds, by name."""
        return self.flops if name == "compute" else self.seconds


ZERO_COST, UNKNOWN_COST = RecordedCost(), RecordedCost(None, None)


@dataclass(frozen=True)
class GroupCost:
    """The cost of a group of runs that differ in their seed alone.

    Attributes:
        repeated: What every student does for itself (`OWN_PARTS`), mean over the runs.
        search: The part of it that the search for the KD weight takes.
        prune: The part of it that pruning the weights takes.
        shared: What is done once, by `SHARED_PARTS`, as far as the runs need it.
    """

    repeated: RecordedCost
    search: RecordedCost
    prune: RecordedCost
    shared: Mapping[str, RecordedCost]

    @property
    def per_student(self) -> RecordedCost:
        """What one student takes where there is a teacher and the samples are chosen: its soft labels included."""
        return self.repeated + self.shared.get("soft labels", ZERO_COST)

    @property
    def one_time(self) -> RecordedCost:
        """All that is done once."""
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
    """What a run did for itself ("student", and of that "search" and "prune"), and what it shares with others."""
    recorded = {part: RecordedCost(cost.flops, cost.seconds) for part, cost in run.result.costs if cost is not None}
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


def break_even(repeated: float | None, one_time: float | None, full_data: float | None) -> float | None:
    """The smallest number of students k for which one_time + k * repeated is below k * full_data, a full training's cost.

    Infinity where it never pays off; None where one of the costs is not known.
    """
    if repeated is None or full_data is None:
        return None
    if repeated >= full_data:
        return math.inf
    return None if one_time is None else math.floor(one_time / (full_data - repeated)) + 1
