"""What the sections read: the runs, in set-ups and groups, with everything that was found about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datapruning.data.dataset import Dataset
from datapruning.report.costs import GroupCost, group_cost
from datapruning.report.find_runs import Found
from datapruning.report.groups import Group, Words, find_groups
from datapruning.report.label_issue_files import LabelIssuesFile
from datapruning.report.score_files import ScoresFile
from datapruning.report.setups import Setup
from datapruning.report.student import Student


@dataclass(frozen=True)
class Compared:
    """A set-up with its groups and what they cost."""

    setup: Setup
    groups: list[Group]
    costs: list[GroupCost]


@dataclass(frozen=True)
class Inputs:
    """Everything a report is made from.

    Attributes:
        found: the runs, and what was left out.
        setups: the runs by what compares.
        scores: scores files of the dataset.
        label_issues: lists of likely wrong labels of the dataset.
        data: the dataset, or None.
        no_data: why there is none.
        base: paths are shown relative to this folder where they lie in it.
    """

    found: Found
    setups: list[Setup]
    scores: list[ScoresFile]
    label_issues: list[LabelIssuesFile]
    data: Dataset | None
    no_data: str
    base: Path

    @property
    def students(self) -> list[Student]:
        """All runs."""
        return self.found.students

    @cached_property
    def ordered(self) -> list[Student]:
        """All runs, in the order of the summary."""
        return [student for compared in self.compared for group in compared.groups for student in group.students]

    @cached_property
    def numbers(self) -> dict[Path, int]:
        """The number under which the appendix lists a run, from 1."""
        return {student.folder: i for i, student in enumerate(self.ordered, 1)}

    @cached_property
    def compared(self) -> Sequence[Compared]:
        """Every set-up's groups."""
        result = []
        kin: dict[object, list[Student]] = {}
        for setup in self.setups:
            kin.setdefault(setup.family, []).extend(setup.students)
        words = {family: Words(students) for family, students in kin.items()}  # the same way of KD has one name in all
        for setup in self.setups:
            groups = find_groups(setup, words[setup.family])
            costs = [group_cost(group, self.students, self.found.roots) for group in groups]
            result.append(Compared(setup, groups, costs))
        return result

    @cached_property
    def families(self) -> list[list[Compared]]:
        """Set-ups that differ only in how students were pruned and learn from themselves, together."""
        found: dict[object, list[Compared]] = {}
        for compared in self.compared:
            found.setdefault(compared.setup.family, []).append(compared)
        return list(found.values())

    def shown(self, path: Path) -> str:
        """A path as the report writes it."""
        whole = path.resolve()
        return str(whole.relative_to(self.base)) if whole.is_relative_to(self.base) else str(whole)
