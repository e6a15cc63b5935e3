"""Groups of runs that differ in their seed alone, and the pivot that makes groups of any records."""

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from datapruning.report.costs import GroupCost, group_cost
from datapruning.report.run_records import AUTO, NO_KD, RunRecord

MAX_WEIGHT_CURVES = 3
"""Fixed KD weights with a curve of their own; of more, the lowest, the middle and the highest one have one."""
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def pivot(records: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Records by the value of a key, in the order in which the values first appear."""
    table: dict[K, list[T]] = {}
    for record in records:
        table.setdefault(key(record), []).append(record)
    return table


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one fraction, one scorer and one kind of KD, by seed.

    Attributes:
        fraction: The requested fraction.
        scorer: As in `RunRecord.scorer`.
        kd: As in `RunRecord.kd`, with the teacher and the [kd] settings in which runs of the report differ.
        runs: At least one.
    """

    fraction: float
    scorer: str
    kd: str
    runs: Sequence[RunRecord]

    @property
    def key(self) -> tuple[float, str, str]:
        """Fraction, scorer and kind of KD."""
        return self.fraction, self.scorer, self.kd

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.runs)

    @property
    def accuracies(self) -> list[float]:
        """The runs' test accuracies in percent."""
        return [run.result.test_accuracy for run in self.runs]

    @property
    def mean(self) -> float:
        """Mean test accuracy in percent."""
        return statistics.mean(self.accuracies)

    @property
    def sd(self) -> float:
        """Standard deviation of the test accuracy; 0 of a single run."""
        return statistics.stdev(self.accuracies) if self.n > 1 else 0.0

    @property
    def has_kd(self) -> bool:
        """Whether there was a teacher."""
        return self.runs[0].kd != NO_KD

    @property
    def is_auto(self) -> bool:
        """Whether the KD weight was searched for."""
        return self.runs[0].kd == AUTO

    @property
    def is_full(self) -> bool:
        """Whether the runs were trained on all the data."""
        return self.runs[0].is_full

    @property
    def kd_order(self) -> tuple[bool, bool, float]:
        """To sort by: no KD, auto, and the fixed weights rising."""
        fixed = self.has_kd and not self.is_auto
        return self.has_kd, fixed, self.runs[0].result.kd_weight if fixed else 0.0

    @cached_property
    def cost(self) -> GroupCost:
        """What the runs cost."""
        return group_cost(self.runs)


def kd_labels(runs: Sequence[RunRecord]) -> list[str]:
    """The kind of KD of each run, with the teacher and the [kd] settings where the runs differ in them.

    As in "KD 0.9, T = 2, teacher resnet18".
    """
    distilled = [run for run in runs if run.kd != NO_KD]
    names = {_teacher_key(run): _teacher_models(run) for run in distilled}
    by_kind = pivot(distilled, lambda run: run.kd == AUTO)
    differing = {auto: _differing([run.kd_settings for run in members]) for auto, members in by_kind.items()}
    labels = []
    for run in runs:
        label = [run.kd]
        if run.kd != NO_KD:
            label += [f"{key} = {run.kd_settings.get(key, 'not recorded')}" for key in differing[run.kd == AUTO]]
        if run.kd != NO_KD and len(names) > 1:
            label.append(f"teacher {_teacher_models(run)}")
            if list(names.values()).count(_teacher_models(run)) > 1:
                accuracies = "/".join(f"{t.test_accuracy:.2f}%" for t in run.candidates or run.teachers if t.test_accuracy)
                label[-1] += f" {accuracies} {_teacher_key(run)[1][:4]}"
        labels.append(", ".join(label))
    return labels


def _teacher_key(run: RunRecord) -> tuple[str, ...]:
    return ("auto" if run.candidates else "", *(t.weights for t in run.candidates or run.teachers))


def _teacher_models(run: RunRecord) -> str:
    if run.candidates:
        return f"auto of {', '.join(t.name for t in run.candidates)}"
    return " + ".join(t.name for t in run.teachers) or "unknown"


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same everywhere."""
    keys = dict.fromkeys(key for values in settings for key in values)
    return [key for key in keys if len({repr(values.get(key)) for values in settings}) > 1]


def make_groups(labelled: Iterable[tuple[RunRecord, str]]) -> list[Group]:
    """The groups of comparable runs, which are given with the labels of their KD.

    By fraction, then scorer, then no KD, auto, and the fixed weights rising; the runs of a group by seed.
    """
    by_seed = sorted(labelled, key=lambda pair: (pair[0].result.seed, str(pair[0].folder)))
    table = pivot(by_seed, lambda pair: (pair[0].fraction, pair[0].scorer, pair[1]))
    groups = [Group(*key, [run for run, _ in members]) for key, members in table.items()]
    return sorted(groups, key=lambda g: (g.fraction, scorer_order(g.scorer), g.kd_order, g.kd))


def scorer_order(scorer: str) -> tuple[bool, str]:
    """To sort by: random first, then by name."""
    return (not scorer.startswith("random"), scorer)


def pruning_scorers(groups: Iterable[Group]) -> list[str]:
    """The scorers of the groups on part of the data, in order."""
    return sorted({group.scorer for group in groups if not group.is_full}, key=scorer_order)


def curve_kds(groups: Sequence[Group]) -> list[str]:
    """The kinds of KD that have a curve of their own: no KD, auto, and a few of the fixed weights."""
    kinds = {group.kd: group for group in sorted(groups, key=lambda group: group.kd_order)}
    weights = sorted({group.runs[0].result.kd_weight for group in kinds.values() if group.has_kd and not group.is_auto})
    if len(weights) > MAX_WEIGHT_CURVES:
        weights = [weights[0], weights[len(weights) // 2], weights[-1]]
    return [kd for kd, g in kinds.items() if not g.has_kd or g.is_auto or g.runs[0].result.kd_weight in weights]


def paired_differences(group: Group, baseline: Group | None) -> list[float]:
    """Accuracy of each run minus that of the baseline's run of the same seed, in points; of seeds that have both."""
    accuracies = {run.result.seed: run.result.test_accuracy for run in baseline.runs} if baseline else {}
    results = [run.result for run in group.runs]
    return [result.test_accuracy - accuracies[result.seed] for result in results if result.seed in accuracies]


def kd_gains(group: Group, groups: Iterable[Group]) -> list[float]:
    """The paired differences to the runs without KD of the same scorer and fraction."""
    same = (g for g in groups if not g.has_kd and (g.scorer, g.fraction) == (group.scorer, group.fraction))
    return paired_differences(group, next(same, None)) if group.has_kd else []
