"""What a student costs: its own training and search, and what is paid once and shared (teacher, scoring, soft labels).

Counted in samples (a sample that is only passed forward counts as a third of one that is trained on: forward and
backward together cost about three forward passes) and in seconds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.report.groups import Group
from datapruning.report.recorded_cost import MEASURES, NOTHING, Price, said_of, seconds_of
from datapruning.report.shared_costs import scoring_cost, soft_labels_cost, teacher_cost
from datapruning.report.student import NO_KD, Student
from datapruning.utils.cost import FORWARD


@dataclass(frozen=True)
class GroupCost:
    """Cost of a group: `own` of one student (mean over the runs), what of it is the search for the KD weight and what the
    pruning of its weights, and each part that is paid once.
    """

    own: Price
    search: Price
    prune: Price
    shared: Mapping[str, Price]

    @property
    def once(self) -> Price:
        """All that is paid once."""
        return sum(self.shared.values(), NOTHING)


def group_cost(group: Group, everybody: Sequence[Student], roots: Sequence[Path]) -> GroupCost:
    """What the runs of a group cost.

    Args:
        group: the runs.
        everybody: all runs of the report: they say what a soft label takes.
        roots: folders in which evidence may lie.
    """
    own = [_train(s) + _search(s) + _before(s) for s in group.students]
    shared = {}
    if any(s.kd != NO_KD for s in group.students):
        shared["teacher"] = _largest([teacher_cost(s) for s in group.students])
        shared["soft labels"] = _largest([soft_labels_cost(s, everybody) for s in group.students])
    scoring = _largest([scoring_cost(s, roots) for s in group.students])
    if scoring != NOTHING:
        shared["scoring"] = scoring
    prune = _mean([said_of(s, "prune") or NOTHING for s in group.students])
    return GroupCost(_mean(own), _mean([_search(s) for s in group.students]), prune, shared)


def pays_off_after(own: float | None, once: float | None, full: float | None) -> int | None:
    """The least number of students k with once + k * own < k * full; None: never, or something is not known."""
    if own is None or once is None or full is None or own >= full:
        return None
    return math.floor(once / (full - own)) + 1


def _mean(costs: Sequence[Price]) -> Price:
    values: list[float | None] = []
    for name in MEASURES:
        known = [v for c in costs if (v := c.measure(name)) is not None]
        values.append(statistics.mean(known) if known else None)
    return Price(*values)


def _largest(costs: Sequence[Price]) -> Price:
    """Of what is shared, a run that found it there says less than the one that made it."""
    values = [[v for c in costs if (v := c.measure(name)) is not None] for name in MEASURES]
    return Price(*(max(v) if v else None for v in values))


def _train(student: Student) -> Price:
    return said_of(student, "train") or Price(student.result.get("samples_seen"), seconds_of(student, "train"))


def _before(student: Student) -> Price:
    """What a student pays for itself before it is trained: its self teacher, the pruning of its weights."""
    parts = ("self_teacher", "self_soft_labels", "prune")
    return sum((said_of(student, part) or NOTHING for part in parts), NOTHING)


def _search(student: Student) -> Price:
    if student.search is None:
        return NOTHING
    stated = said_of(student, "search")
    if stated is not None:
        return stated
    if "samples_seen" in student.search:
        samples = student.search["samples_seen"] + FORWARD * student.search.get("evaluated", 0)
        return Price(samples, seconds_of(student, "search"))
    trials = student.search.get("trials") or []
    judged = FORWARD * student.search.get("validation_size", 0) * len(trials)
    return Price(sum(t.get("samples_seen", 0) for t in trials) + judged, seconds_of(student, "search"))
