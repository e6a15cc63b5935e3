"""What was removed from a student's weights before it was trained, as its result.json says it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datapruning.report.student import Student

COUNTS = ("total", "kept", "positions")


@dataclass(frozen=True)
class Layer:
    """A prunable layer: its weight's name and shape, its weights, how many are kept, how often one is used for a picture."""

    name: str
    shape: tuple[int, ...]
    total: int
    kept: int
    positions: int


@dataclass(frozen=True)
class Thinned:
    """The pruned weights of a run.

    Attributes:
        layers: in the network's order.
        protected: layers that would have been cut to nothing, and kept their strongest weight.
    """

    layers: tuple[Layer, ...]
    protected: tuple[str, ...]

    @property
    def total(self) -> int:
        """Prunable weights."""
        return sum(layer.total for layer in self.layers)

    @property
    def kept(self) -> int:
        """Those that are kept."""
        return sum(layer.kept for layer in self.layers)

    @property
    def flops(self) -> tuple[int, int]:
        """Multiplications and additions for one picture: dense, and with zeros skipped."""
        each = [(2 * layer.positions * layer.total, 2 * layer.positions * layer.kept) for layer in self.layers]
        return sum(dense for dense, _ in each), sum(sparse for _, sparse in each)


def thinned_of(student: Student) -> Thinned | None:
    """What result.json says of a pruned run; None where nothing was pruned, or where it does not say it whole."""
    told = student.result.get("sparsity")
    found = told.get("layers") if isinstance(told, dict) else None
    if not isinstance(found, list) or not found or not all(_whole(layer) for layer in found):
        return None
    layers = (Layer(str(f["name"]), tuple(f["shape"]), *(int(f[key]) for key in COUNTS)) for f in found)
    protected = told.get("protected") if isinstance(told, dict) else None
    return Thinned(tuple(layers), tuple(map(str, protected)) if isinstance(protected, list) else ())


def _whole(layer: Any) -> bool:
    return (
        isinstance(layer, Mapping)
        and isinstance(layer.get("shape"), list)
        and all(isinstance(layer.get(key), int) and layer[key] >= 0 for key in COUNTS)
        and 0 <= layer["kept"] <= layer["total"] > 0
    )


@dataclass(frozen=True)
class MeanLayer:
    """A layer over several runs: mean share that is kept, in 0..1, and its standard deviation (None of a single run)."""

    layer: Layer
    kept: float
    share: float
    sd: float | None


def mean_layers(runs: Sequence[Thinned]) -> list[MeanLayer]:
    """Layer by layer over the runs of one network; a run of another one is left out."""
    alike = [run for run in runs if [(x.name, x.shape) for x in run.layers] == [(x.name, x.shape) for x in runs[0].layers]]
    found = []
    for same in zip(*(run.layers for run in alike), strict=True):
        shares = [layer.kept / layer.total for layer in same]
        sd = statistics.stdev(shares) if len(shares) > 1 else None
        found.append(MeanLayer(same[0], statistics.mean(x.kept for x in same), statistics.mean(shares), sd))
    return found
