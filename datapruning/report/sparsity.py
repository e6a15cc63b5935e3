"""The weights that were removed from students before training, as their result.json records them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datapruning.report.run_records import RunRecord

COUNTS = ("total", "kept", "positions")


@dataclass(frozen=True)
class Layer:
    """A prunable layer.

    Attributes:
        name: The name of its weight.
        shape: The shape of its weight.
        total: The number of its weights.
        kept: The number of weights that are kept.
        positions: How often a weight is used for one image.
    """

    name: str
    shape: tuple[int, ...]
    total: int
    kept: int
    positions: int


@dataclass(frozen=True)
class SparsitySummary:
    """The pruned weights of a run.

    Attributes:
        layers: In the network's order.
        protected: Layers that would have been cut to nothing, and kept their strongest weight.
    """

    layers: tuple[Layer, ...]
    protected: tuple[str, ...]

    @property
    def total(self) -> int:
        """The number of prunable weights."""
        return sum(layer.total for layer in self.layers)

    @property
    def kept(self) -> int:
        """The number of weights that are kept."""
        return sum(layer.kept for layer in self.layers)

    @property
    def flops(self) -> int:
        """Multiplications and additions for one image."""
        return sum(2 * layer.positions * layer.total for layer in self.layers)

    @property
    def flops_without_zeros(self) -> int:
        """The same if zeros were skipped."""
        return sum(2 * layer.positions * layer.kept for layer in self.layers)


def sparsity_summaries(runs: Iterable[RunRecord]) -> list[SparsitySummary]:
    """The pruned weights of those of the runs that were pruned, and whose result.json records every layer."""
    return [summary for run in runs if (summary := _summary(run)) is not None]


def _summary(run: RunRecord) -> SparsitySummary | None:
    told = run.result.get("sparsity")
    found = told.get("layers") if isinstance(told, dict) else None
    if not isinstance(found, list) or not found or not all(_whole(layer) for layer in found):
        return None
    layers = (Layer(str(f["name"]), tuple(f["shape"]), *(int(f[key]) for key in COUNTS)) for f in found)
    protected = told.get("protected") if isinstance(told, dict) else None
    return SparsitySummary(tuple(layers), tuple(map(str, protected)) if isinstance(protected, list) else ())


def _whole(layer: Any) -> bool:
    return (
        isinstance(layer, Mapping)
        and isinstance(layer.get("shape"), list)
        and all(isinstance(layer.get(key), int) and layer[key] >= 0 for key in COUNTS)
        and 0 <= layer["kept"] <= layer["total"] > 0
    )


@dataclass(frozen=True)
class MeanLayer:
    """A layer over several runs.

    Attributes:
        layer: The layer of the first run.
        kept: The number of kept weights, mean over the runs.
        shares: The share of the weights that is kept in each run, 0..1.
    """

    layer: Layer
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


def mean_layers(runs: Sequence[SparsitySummary]) -> list[MeanLayer]:
    """Layer by layer over the runs of one network; runs of another network than the first one's are left out."""
    outlines = [[(layer.name, layer.shape) for layer in run.layers] for run in runs]
    same = [run.layers for run, outline in zip(runs, outlines, strict=True) if outline == outlines[0]]
    return [
        MeanLayer(layers[0], statistics.mean(x.kept for x in layers), [x.kept / x.total for x in layers])
        for layers in zip(*same, strict=True)
    ]
