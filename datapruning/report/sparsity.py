"""The weights that were removed from students before training, as their result.json records them."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datapruning.report.run_records import RunRecord
from datapruning.runs.result import PrunedLayer, SparsityRecord


def sparsity_records(runs: Iterable[RunRecord]) -> list[SparsityRecord]:
    """How the weights of those of the runs were pruned that were pruned."""
    return [run.result.sparsity for run in runs if run.result.sparsity is not None]


@dataclass(frozen=True)
class MeanLayer:
    """A layer over several runs.

    Attributes:
        layer: The layer of the first run.
        kept: The number of kept weights, mean over the runs.
        shares: The share of the weights that is kept in each run, 0..1.
    """

    layer: PrunedLayer
    kept: float
    shares: Sequence[float]

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.layer.name.removesuffix(".weight")

    @property
    def share(self) -> float:
        """The share that is kept, mean over the runs, 0..1."""
        return statistics.mean(self.shares)

    @property
    def sd(self) -> float:
        """The standard deviation of the share; 0 of a single run."""
        return statistics.stdev(self.shares) if len(self.shares) > 1 else 0.0


def mean_layers(runs: Sequence[SparsityRecord]) -> list[MeanLayer]:
    """Layer by layer over the runs of one network; runs of another network than the first one's are left out."""
    outlines = [[(layer.name, layer.shape) for layer in run.layers] for run in runs]
    same = [run.layers for run, outline in zip(runs, outlines, strict=True) if outline == outlines[0]]
    return [
        MeanLayer(layers[0], statistics.mean(x.kept for x in layers), [x.kept / x.total for x in layers])
        for layers in zip(*same, strict=True)
    ]
