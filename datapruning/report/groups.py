"""Groups: the runs that differ in nothing but their seed, their mean and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datapruning.report.setups import Setup
from datapruning.report.student import AUTO, NO_KD, Student

MOST_WEIGHTS = 3
"""Fixed KD weights that are drawn as curves of their own; of more, the lowest, the middle and the highest one."""


@dataclass(frozen=True)
class Group:
    """Runs of one scorer, one way of KD and one fraction.

    Attributes:
        scorer: as in `Student.scorer`.
        kd: as in `Student.kd`, with the teacher and T where the report has several.
        fraction: the share that was asked for.
        students: the runs, by seed.
    """

    scorer: str
    kd: str
    fraction: float
    students: list[Student]

    @property
    def n(self) -> int:
        """How many runs."""
        return len(self.students)

    @property
    def mean(self) -> float:
        """Test accuracy in percent."""
        return statistics.mean(s.accuracy for s in self.students)

    @property
    def sd(self) -> float | None:
        """Standard deviation of the test accuracy over the runs; None of a single one."""
        return statistics.stdev([s.accuracy for s in self.students]) if self.n > 1 else None

    @property
    def has_kd(self) -> bool:
        """Whether a teacher was asked."""
        return self.students[0].kd != NO_KD

    @property
    def is_full(self) -> bool:
        """Whether nothing was pruned away."""
        return self.students[0].is_full


class Words:
    """Names of the ways of KD, in which the teacher and the [kd] settings are said only where they differ."""

    def __init__(self, students: Iterable[Student]) -> None:
        distilled = [s for s in students if s.kd != NO_KD]
        self._teachers = {self._key(s): s for s in distilled}
        self._differing = {
            auto: _differing([s.kd_settings for s in distilled if (s.kd == AUTO) == auto]) for auto in (True, False)
        }

    def kd(self, student: Student) -> str:
        """The way of KD of a run."""
        text = student.kd
        if text == NO_KD:
            return text
        settings = student.kd_settings
        for key in self._differing[student.kd == AUTO]:
            text += f", {key} = {settings.get(key, 'not recorded')}"
        if len(self._teachers) > 1:
            text += f", teacher {self._name(student)}"
        return text

    @staticmethod
    def _key(student: Student) -> tuple[str, ...]:
        each = student.candidates or student.teachers
        return ("auto" if student.candidates else "", *(str(t.get("weights", t.get("folder"))) for t in each))

    def _name(self, student: Student) -> str:
        name = _models(student)
        alike = [key for key, other in self._teachers.items() if _models(other) == name]
        if len(alike) == 1:
            return name
        accuracies = "/".join(f"{t.get('test_accuracy', 0):.2f}%" for t in student.candidates or student.teachers)
        return f"{name} {accuracies} {self._key(student)[1][:4]}"


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same everywhere."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]


def _models(student: Student) -> str:
    if student.candidates:
        return f"auto of {', '.join(str(t.get('model')) for t in student.candidates)}"
    return " + ".join(str(t.get("model")) for t in student.teachers) or "unknown"


def find_groups(setup: Setup, words: Words) -> list[Group]:
    """The groups of a set-up: by fraction, then scorer, then no KD, auto, and the fixed weights rising."""
    same: dict[tuple[float, str, str], list[Student]] = {}
    for student in sorted(setup.students, key=lambda s: (s.seed, str(s.folder))):
        same.setdefault((student.fraction, student.scorer, words.kd(student)), []).append(student)
    groups = [Group(scorer, kd, fraction, students) for (fraction, scorer, kd), students in same.items()]
    return sorted(groups, key=lambda g: (g.fraction, scorer_order(g.scorer), _kd_order(g), g.kd))


def scorer_order(scorer: str) -> tuple[bool, str]:
    """To sort by: random first, then by name."""
    return (not scorer.startswith("random"), scorer)


def _kd_order(group: Group) -> tuple[bool, bool, float]:
    fixed = group.has_kd and group.students[0].kd != AUTO
    return (group.has_kd, fixed, group.students[0].weight if fixed else 0.0)


def full_data(groups: Sequence[Group]) -> Group | None:
    """The runs on all the data without KD: what everything is measured against."""
    return next((g for g in groups if g.is_full and not g.has_kd), None)


def curve_kinds(groups: Sequence[Group]) -> list[str]:
    """The ways of KD that get a curve of their own: no KD, auto, and a few of the fixed weights."""
    kinds = {g.kd: g for g in sorted(groups, key=_kd_order)}
    fixed = [kd for kd, g in kinds.items() if g.has_kd and g.students[0].kd != AUTO]
    if len({kinds[kd].students[0].weight for kd in fixed}) > MOST_WEIGHTS:
        weights = sorted({kinds[kd].students[0].weight for kd in fixed})
        drawn = {weights[0], weights[len(weights) // 2], weights[-1]}
        fixed = [kd for kd in fixed if kinds[kd].students[0].weight in drawn]
    return [kd for kd, g in kinds.items() if kd in fixed or g.students[0].kd in (NO_KD, AUTO)]


def main_kd(groups: Sequence[Group]) -> str | None:
    """The one way of KD that stands for all where there is room for one: auto, else the weight with the most runs.

    Never chosen by accuracy: that would pick on the test set.
    """
    counts: dict[str, tuple[bool, int, float]] = {}
    for group in groups:
        if group.has_kd:
            runs = counts.get(group.kd, (False, 0, 0.0))[1] + group.n
            counts[group.kd] = (group.students[0].kd == AUTO, runs, group.students[0].weight)
    return max(counts, key=lambda kd: counts[kd]) if counts else None


def paired(group: Group, groups: Sequence[Group]) -> list[float]:
    """Accuracy of each run minus that of the run without KD of the same scorer, fraction and seed, in points."""
    if not group.has_kd:
        return []
    plain = next((g for g in groups if not g.has_kd and (g.scorer, g.fraction) == (group.scorer, group.fraction)), None)
    base = {s.seed: s.accuracy for s in plain.students} if plain else {}
    return [s.accuracy - base[s.seed] for s in group.students if s.seed in base]
