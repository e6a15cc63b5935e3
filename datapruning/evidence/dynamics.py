"""Training dynamics: statistics of every sample in several runs of a proxy on the full data, epoch by epoch."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datapruning.evidence.sample_stats import SampleStats
from datapruning.utils.cost import ComputeCost

Block = Callable[..., NDArray[np.float64]]


@dataclass(frozen=True)
class TrainingDynamics:
    """Complete runs.

    Attributes:
        train_passes: statistics of each run's training pass (augmented views, training mode), [epochs, N].
        cost: compute of all runs.
    """

    train_passes: tuple[SampleStats, ...]
    cost: ComputeCost = field(default_factory=ComputeCost)

    def average(self, function: Block, *statistics: str, epochs: int | None = None) -> NDArray[np.float64]:
        """Mean over runs of `function`, which turns statistics [epochs, n] of n samples into values [n]. Returns [N].

        Args:
            function: called with as many arrays as statistics are named, for some samples at a time, so that memory stays
                constant.
            statistics: see `SampleStats`.
            epochs: number of epochs from the first; None: all.
        """
        return _average(self.train_passes, function, statistics, slice(epochs))


@dataclass(frozen=True)
class FinalEvaluation:
    """An evaluation pass of trained networks over every sample after the last epoch, without augmentation.

    Attributes:
        final: statistics of each complete run, [1, N].
        cost: compute of those runs.
    """

    final: tuple[SampleStats, ...]
    cost: ComputeCost = field(default_factory=ComputeCost)

    def __getitem__(self, statistic: str) -> NDArray[np.float64]:
        """Mean over runs of a statistic (see `sample_stats.statistics`), float64 [N]."""
        return _average(self.final, lambda values: values[0].astype(np.float64), (statistic,), slice(None))


@dataclass(frozen=True)
class EarlyEvaluation:
    """The evidence of EL2N: each run's error norms at the early checkpoint, in evaluation mode, without augmentation.

    Attributes:
        early: the statistic `error_norm` of each run, [1, N].
        epoch: number of epochs before the checkpoint.
        cost: compute of all runs.
    """

    early: tuple[SampleStats, ...]
    epoch: int
    cost: ComputeCost = field(default_factory=ComputeCost)

    @property
    def error_norms(self) -> NDArray[np.float32]:
        """float32 [runs, N]."""
        return np.stack([np.asarray(stats["error_norm"][0]) for stats in self.early])


def _average(
    runs: tuple[SampleStats, ...], function: Block, statistics: tuple[str, ...], rows: slice
) -> NDArray[np.float64]:
    total = np.zeros(runs[0].total)
    for stats in runs:
        for samples, arrays in stats.blocks(*statistics, rows=rows):
            total[samples] += function(*arrays)
    return total / len(runs)


def window_means(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Mean over every run of `length` rows: [rows, n] -> [rows - length + 1, n]."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])
    return np.asarray((sums[length:] - sums[:-length]) / length)


def window_squares(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Sum of squared distances from the window's own mean, of every run of `length` rows: -> [rows - length + 1, n].

    By running sums, around each sample's overall mean, so that nothing cancels but what is equal.
    """
    centred = values - values.mean(0)
    means = window_means(centred, length)
    return np.maximum(window_means(centred**2, length) * length - length * means**2, 0)


def window_std(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Standard deviation (n - 1) of every run of `length` rows; 0 where a window is one row."""
    return np.asarray(np.sqrt(window_squares(values, length) / max(length - 1, 1)))
