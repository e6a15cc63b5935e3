"""From saliencies to masks: the largest are kept, over the whole network or layer by layer."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import DataPruningError
from datapruning.training.sparsity.masks import Masks

Saliency = Mapping[str, NDArray[np.float64]]
"""An array for each prunable weight, by the weight's name; larger values are kept."""


def count_kept(total: int, sparsity: float) -> int:
    """Weights that are kept of `total` where the share `sparsity` is removed: rounded, at least 1."""
    return max(1, round(total * (1 - sparsity)))


def keep_largest(
    saliency: Saliency, sparsity: float, scope: str = "global", previous: Masks | None = None
) -> tuple[Masks, list[str]]:
    """Masks that keep the largest saliencies; of equal ones, the weight that comes first in the network.

    The share `sparsity` is removed, over the whole network ("global") or in every layer ("layer"); what the masks of the
    round before removed stays removed. A layer that would lose all its weights keeps its strongest one, so that signals
    pass; the count stays, as the globally weakest others are removed instead. Returns the masks, and the names of such
    layers.

    Raises:
        DataPruningError: a saliency that is not finite.
    """
    for name, values in saliency.items():
        if not np.isfinite(values).all():
            raise DataPruningError(f"the saliency of '{name}' is not finite: lower the inner rate (sparsity.inner_lr)")
    kept = previous.tensors if previous else {}
    layers = {name: np.where(kept.get(name, True), values, -np.inf) for name, values in saliency.items()}
    if scope == "layer":
        masks = {name: _largest(values, count_kept(values.size, sparsity)) for name, values in layers.items()}
        return Masks(masks), []
    flat = np.concatenate([values.ravel() for values in layers.values()])
    cuts = np.cumsum([values.size for values in layers.values()])[:-1]
    num_kept = max(count_kept(flat.size, sparsity), len(layers))
    keep = _largest(flat, num_kept)
    empty = [name for name, part in zip(layers, np.split(keep, cuts), strict=True) if not part.any()]
    if empty:
        for part in np.split(flat, cuts):  # views; no change for layers that keep their strongest weight anyway
            part[part.argmax()] = np.inf
        keep = _largest(flat, num_kept)
    parts = zip(layers.items(), np.split(keep, cuts), strict=True)
    return Masks({name: part.reshape(values.shape) for (name, values), part in parts}), empty


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Where the `count` largest of an array are; ties go to the smaller index."""
    largest = np.zeros(values.size, np.bool_)
    largest[np.argsort(-values, axis=None, kind="stable")[:count]] = True
    return largest.reshape(values.shape)


def sparsity_schedule(sparsity: float, rounds: int) -> Sequence[float]:
    """Shares removed after each of so many rounds: what is kept falls by the same factor each time (SynFlow)."""
    return [1 - (1 - sparsity) ** ((k + 1) / rounds) for k in range(rounds)]
