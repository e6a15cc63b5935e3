"""From saliencies to masks: the largest are kept, over the whole network or in each layer, on the saliencies' device."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.errors import DataPruningError
from datapruning.training.sparsity.masks import Masks

Saliency = Mapping[str, Tensor]
"""A float64 tensor for each prunable weight, by the weight's name; larger values are kept. All are on one device."""
Kept = dict[str, Tensor]
"""A bool tensor for each prunable weight, by the weight's name: True is kept."""

SELECTION_SAMPLE = 2**16
"""Values that are sorted to bound the one looked for, in an array of more than four times as many."""


def count_kept(total: int, sparsity: float) -> int:
    """Weights that are kept of `total` where the share `sparsity` is removed: rounded, at least 1."""
    return max(1, round(total * (1 - sparsity)))


def keep_largest(
    saliency: Saliency,
    sparsity: float,
    previous: Kept | None = None,
    *,
    counts: Sequence[int] | None = None,
    floor: float = 0.0,
) -> tuple[Kept, list[str]]:
    """Keep the largest saliencies; of equal ones, the weight that comes first in the network.

    The share `sparsity` is removed over the whole network; what the round before (`previous`) removed stays removed. A
    layer that would lose all its weights keeps its strongest one, so that signals pass; with a `floor` it keeps at least
    that share of what it would keep if the same share of each layer was removed. The count stays, as the globally weakest
    others are removed instead. With `counts` each layer keeps its own count, whatever the sparsity. Returns what is kept,
    and the names of layers that would have lost all. The host waits for a GPU twice, however many layers there are.

    Raises:
        DataPruningError: a saliency that is not finite.
    """
    extremes = torch.stack([torch.stack(values.aminmax()) for values in saliency.values()])
    finite = extremes.isfinite().all(1).tolist()
    if not all(finite):
        name = list(saliency)[finite.index(False)]
        raise DataPruningError(f"the saliency of '{name}' is not finite: lower the inner rate (sparsity.inner_lr)")
    flat = torch.cat([values.flatten() for values in saliency.values()])
    if previous:
        flat.masked_fill_(~torch.cat([previous[name].flatten() for name in saliency]), -torch.inf)
    sizes = [values.numel() for values in saliency.values()]
    parts = torch.split(flat, sizes)
    empty: list[str] = []
    if counts is not None:
        keep = [_largest(part, count) for part, count in zip(parts, counts, strict=True)]
    else:
        for part in parts if floor else ():
            part.masked_fill_(_largest(part, max(1, round(floor * count_kept(len(part), sparsity)))), torch.inf)
        num_kept = max(count_kept(len(flat), sparsity), len(sizes))
        keep = list(torch.split(_largest(flat, num_kept), sizes))
        survives = torch.stack([part.any() for part in keep]).tolist()
        empty = [name for name, any_kept in zip(saliency, survives, strict=True) if not any_kept]
        if empty:
            for part in parts:  # no change for layers that keep their strongest weight anyway
                part.index_fill_(0, part.argmax()[None], torch.inf)
            keep = list(torch.split(_largest(flat, num_kept), sizes))
    shaped = zip(saliency.items(), keep, strict=True)
    return {name: kept.view(values.shape) for (name, values), kept in shaped}, empty


def to_masks(kept: Kept) -> Masks:
    """What is kept, as masks on the host."""
    return Masks({name: tensor.cpu().numpy() for name, tensor in kept.items()})


def _largest(values: Tensor, count: int) -> Tensor:
    """Where the `count` largest of float64 [n] are, bool [n]; ties go to the smaller index."""
    threshold = _kth_largest(values, count)
    keep = values > threshold
    ties = values == threshold
    missing = count - keep.count_nonzero()
    if values.device.type == "cpu":
        keep[ties.nonzero()[: int(missing), 0]] = True
        return keep
    return keep | (ties & (ties.cumsum(0) <= missing))  # a GPU's number of ties is not waited for


def _kth_largest(values: Tensor, count: int) -> Tensor:
    """The `count`-th largest of float64 [n], without dimensions.

    A CPU selects (see `select_largest`); a GPU sorts by radix, in milliseconds, and its `kthvalue` is none of torch's
    deterministic algorithms.
    """
    if values.device.type == "cpu":
        return torch.tensor(select_largest(values.numpy(), count))
    return values.sort().values[len(values) - count]


def select_largest(values: NDArray[np.float64], count: int) -> np.float64:
    """The `count`-th largest of float64 [n], from the few values between two bounds that a sample of the values gives.

    It takes some passes over the values and no copy of them, also where most are equal: there numpy's own selection, which
    is left for small arrays, takes as long as sorting.
    """
    index = len(values) - count
    if len(values) > 4 * SELECTION_SAMPLE:
        drawn = np.random.default_rng(0).integers(len(values), size=SELECTION_SAMPLE)
        bounds = np.concatenate([[-np.inf], np.sort(values[drawn]), [np.inf]])
        centre, margin = index / len(values) * SELECTION_SAMPLE, 4 * SELECTION_SAMPLE**0.5  # 8 standard deviations
        low, high = (bounds[int(np.clip(i, 0, len(bounds) - 1))] for i in (centre - margin, centre + margin))
        rank = count - np.count_nonzero(values >= high)
        if rank <= 0 and np.count_nonzero(values > high) < count:
            return high  # type: ignore[no-any-return]
        between = values[(values > low) & (values < high)]
        if 0 < rank <= len(between):
            return np.partition(between, len(between) - rank)[len(between) - rank]  # type: ignore[no-any-return]
        if rank > len(between) and np.count_nonzero(values >= low) >= count:
            return low  # type: ignore[no-any-return]
    return np.partition(values, index)[index]  # type: ignore[no-any-return]


def sparsity_schedule(sparsity: float, rounds: int) -> Sequence[float]:
    """Shares removed after each of so many rounds: what is kept falls by the same factor each time (SynFlow)."""
    return [1 - (1 - sparsity) ** ((k + 1) / rounds) for k in range(rounds)]
