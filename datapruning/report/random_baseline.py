"""Whether a scorer beats random subsets: the difference in accuracy, paired by seed, with its standard error."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from datapruning.report.format import join_words, percent, signed
from datapruning.report.groups import Group, paired_differences, pivot

NUM_STDERRS = 2
"""A mean difference beyond so many standard errors is more than noise."""
RANDOM = "random"


@dataclass(frozen=True)
class RandomBaseline:
    """The accuracy of a group's runs minus that of random subsets of the same size, seed and kind of KD, in points."""

    group: Group
    differences: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean difference."""
        return statistics.mean(self.differences)

    @property
    def stderr(self) -> float | None:
        """Its standard error over the seeds; None of one seed."""
        n = len(self.differences)
        return statistics.stdev(self.differences) / math.sqrt(n) if n > 1 else None

    @property
    def beats_random(self) -> bool:
        """Whether it is above 0 by more than `NUM_STDERRS` standard errors; of one seed, whether it is above 0."""
        return self.mean > NUM_STDERRS * (self.stderr or 0.0)

    def __str__(self) -> str:
        """As in "10% (−1.25 ± 0.40 points, 3 seeds)"."""
        points = signed(self.mean) if self.stderr is None else f"{signed(self.mean)} ± {self.stderr:.2f}"
        seeds = "one seed" if self.stderr is None else f"{len(self.differences)} seeds"
        return f"{percent(self.group.fraction)} ({points} points, {seeds})"


def compare_with_random(groups: Sequence[Group]) -> list[RandomBaseline]:
    """Each group of a scorer on part of the data, where random subsets of the same size have seeds in common with it."""
    baselines = []
    for group in groups:
        if group.is_full or group.runs[0].result.scorer == RANDOM:
            continue
        same = [g for g in groups if (g.fraction, g.kd) == (group.fraction, group.kd) and g.runs[0].result.scorer == RANDOM]
        same.sort(key=lambda g: g.runs[0].result.balance != group.runs[0].result.balance)
        if same and (differences := paired_differences(group, same[0])):
            baselines.append(RandomBaseline(group, differences))
    return baselines


def random_sentences(groups: Sequence[Group]) -> list[str]:
    """For each scorer and kind of KD a sentence that says at which fractions it beats random subsets, and where not.

    As in "el2n (no KD) does not beat random keeping 10% (−1.25 ± 0.40 points, 3 seeds); it does keeping 30% (...)."
    """
    sentences = []
    for (scorer, kd), baselines in pivot(compare_with_random(groups), lambda b: (b.group.scorer, b.group.kd)).items():
        won = join_words(str(b) for b in baselines if b.beats_random)
        lost = join_words(str(b) for b in baselines if not b.beats_random)
        if lost:
            rest = f"; it does keeping {won}" if won else ""
            sentences.append(f"{scorer} ({kd}) does not beat random keeping {lost}{rest}.")
        else:
            sentences.append(f"{scorer} ({kd}) beats random keeping {won}.")
    return sentences
