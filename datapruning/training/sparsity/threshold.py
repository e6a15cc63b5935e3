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
    names = list(saliency)
    for name in names:
        if not np.isfinite(saliency[name]).all():
            raise DataPruningError(f"the saliency of '{name}' is not finite: lower the inner rate (sparsity.inner_lr)")
    values = {
        name: np.where(previous.tensors[name], saliency[name], -np.inf)
        if previous
        else np.asarray(saliency[name], np.float64)
        for name in names
    }
    if scope == "layer":
        masks = {name: _largest(values[name].ravel(), count_kept(values[name].size, sparsity)) for name in names}
        return Masks({name: masks[name].reshape(values[name].shape) for name in names}), []
    flat = np.concatenate([values[name].ravel() for name in names])
    num_kept = max(count_kept(flat.size, sparsity), len(names))
    keep = _largest(flat, num_kept)
    ends = np.cumsum([values[name].size for name in names]).tolist()
    starts = [0, *ends[:-1]]
    empty = [name for name, start, end in zip(names, starts, ends, strict=True) if not keep[start:end].any()]
    if empty:
        strongest = {name: start + int(values[name].argmax()) for name, start in zip(names, starts, strict=True)}
        flat[list(strongest.values())] = np.inf  # no change for layers that keep theirs anyway
        keep = _largest(flat, num_kept)
    masks = {name: keep[start:end].reshape(values[name].shape) for name, start, end in zip(names, starts, ends, strict=True)}
    return Masks(masks), empty


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """The `count` largest of a flat array; ties go to the smaller index."""
    largest = np.zeros(values.size, np.bool_)
    largest[np.argsort(-values, kind="stable")[:count]] = True
    return largest


def sparsity_schedule(sparsity: float, rounds: int) -> Sequence[float]:
    """Shares removed after each of so many rounds: what is kept falls by the same factor each time (SynFlow)."""
    return [1 - (1 - sparsity) ** ((k + 1) / rounds) for k in range(rounds)]
