"""Training dynamics: several runs of a proxy on the full data, what they made of every sample, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datapruning.evidence.sample_stats import SampleStats
from datapruning.utils.cost import ComputeCost

Block = Callable[..., NDArray[np.float64]]


@dataclass(frozen=True)
class TrainingDynamics:
    """Whole runs.

    Attributes:
        train_passes: of each run a track [epochs, N] of the training pass (augmented views, training mode).
        cost: of all runs.
    """

    train_passes: tuple[SampleStats, ...]
    cost: ComputeCost = field(default_factory=ComputeCost)

    def average(self, function: Block, *statistics: str, epochs: int | None = None) -> NDArray[np.float64]:
        """Mean over runs of `function`, which turns statistics [epochs, n] of n samples into values [n]. Returns [N].

        Args:
            function: called with as many arrays as statistics are named, for some samples at a time, so that memory stays
                constant.
            statistics: see `SampleStats`.
            epochs: the first so many; None: all.
        """
        return _average(self.train_passes, function, statistics, slice(epochs))


@dataclass(frozen=True)
class FinalEvaluation:
    """What trained networks make of every sample: an evaluation pass after the last epoch, without augmentation.

    Attributes:
        final: of every whole run a track [1, N].
        cost: of those runs.
    """

    final: tuple[SampleStats, ...]
    cost: ComputeCost = field(default_factory=ComputeCost)

    def __getitem__(self, statistic: str) -> NDArray[np.float64]:
        """Mean over runs of a statistic (see `track.statistics`), [N]."""
        return _average(self.final, lambda values: values[0].astype(np.float64), (statistic,), slice(None))


@dataclass(frozen=True)
class EarlyEvaluation:
    """What EL2N reads: of every run the error norm at the early checkpoint, in evaluation mode, without augmentation.

    Attributes:
        early: of every run a track [1, N] of `error_norm`.
        epoch: how many epochs were done then.
        cost: of all runs up to there.
    """

    early: tuple[SampleStats, ...]
    epoch: int
    cost: ComputeCost = field(default_factory=ComputeCost)

    @property
    def error_norms(self) -> NDArray[np.float32]:
        """float32 [runs, N]."""
        return np.stack([np.asarray(track["error_norm"][0]) for track in self.early])


def _average(
    tracks: tuple[SampleStats, ...], function: Block, statistics: tuple[str, ...], rows: slice
) -> NDArray[np.float64]:
    total = np.zeros(tracks[0].total)
    for track in tracks:
        for part, arrays in track.blocks(*statistics, rows=rows):
            total[part] += function(*arrays)
    return total / len(tracks)
