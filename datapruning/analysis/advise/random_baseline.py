"""Whether the advice's scorer beats random subsets: a pilot on random samples beside one of its own."""

import math
from dataclasses import dataclass

import numpy as np

from datapruning.analysis.advise.curve import run_noise
from datapruning.analysis.advise.holdout_result import HoldoutResult
from datapruning.analysis.advise.plan import Pilot

NUM_STDERRS = 2
"""A difference beyond so many standard errors is more than noise."""


@dataclass(frozen=True)
class RandomBaseline:
    """The accuracy of a scorer's pilot minus that of one on as many random samples, on the hold-out.

    Attributes:
        fraction: That both kept.
        difference: In points.
        stderr: Its standard error, from the hold-out (paired, sample by sample) and the noise between runs.
    """

    fraction: float
    difference: float
    stderr: float

    @property
    def beats_random(self) -> bool:
        """Whether the difference is above 0 by more than `NUM_STDERRS` standard errors."""
        return self.difference > NUM_STDERRS * self.stderr

    def message(self, scorer: str) -> str:
        """As in "el2n does not beat random at 0.1 (-1.25 ± 0.40 points, one seed)"."""
        verb = "beats" if self.beats_random else "does not beat"
        return f"{scorer} {verb} random at {self.fraction:g} ({self.difference:+.2f} ± {self.stderr:.2f} points, one seed)"


def compare_with_random(pilot: Pilot, scored: HoldoutResult, random: HoldoutResult) -> RandomBaseline:
    """Compare a pilot of a scorer with one that kept as many random samples."""
    gains = 100.0 * (scored.correct.astype(np.int64) - random.correct.astype(np.int64))
    noise = run_noise(np.array([100 - scored.accuracy, 100 - random.accuracy]))
    stderr = math.sqrt(float(gains.var()) / len(gains) + float((noise**2).sum()))
    return RandomBaseline(float(pilot.fraction), round(float(gains.mean()), 4), round(stderr, 4))
