"""How many weights each layer keeps, where that is decided before the saliencies are compared: `sparsity.scope`."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from datapruning.config.sparsity import ROUNDS
from datapruning.training.sparsity.criteria import SaliencyInputs, synflow
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.sparsity.threshold import Kept, count_kept, keep_largest, sparsity_schedule


def layer_counts(inputs: SaliencyInputs, rounds: int) -> list[list[int] | None]:
    """After each of so many rounds: the number of weights that each layer keeps; None where one threshold decides.

    Raises:
        DataPruningError: a saliency of SynFlow that is not finite.
    """
    scope, shapes = inputs.settings.scope, [tuple(weight.shape) for weight in prunable(inputs.model).values()]
    schedule = sparsity_schedule(inputs.settings.sparsity, rounds)
    if scope == "global":
        return [None] * rounds
    if scope == "layer":
        return [[count_kept(math.prod(shape), sparsity) for shape in shapes] for sparsity in schedule]
    if scope == "erk":
        return [erk_counts(shapes, sparsity) for sparsity in schedule]
    return list(synflow_counts(inputs, rounds))


def synflow_counts(inputs: SaliencyInputs, rounds: int) -> list[list[int]]:
    """What SynFlow keeps of each layer on its way to the sparsity, at the ends of so many rounds.

    Rounds of both remove by the same factor, so SynFlow's more than `rounds` rounds pass the sparsity of each.
    """
    every = math.ceil(ROUNDS["synflow"] / rounds)
    counts: list[list[int]] = []
    kept: Kept | None = None
    for number, sparsity in enumerate(sparsity_schedule(inputs.settings.sparsity, every * rounds), start=1):
        kept, _ = keep_largest(synflow(inputs._replace(masks=kept)), sparsity, kept)
        if number % every == 0:
            counts.append(torch.stack([mask.count_nonzero() for mask in kept.values()]).tolist())
    return counts


def erk_counts(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[int]:
    """The number of weights that each layer keeps by `erdos_renyi_kernel`, at least one."""
    densities = erdos_renyi_kernel(shapes, sparsity)
    return [max(1, round(math.prod(shape) * density)) for shape, density in zip(shapes, densities, strict=True)]


def erdos_renyi_kernel(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[float]:
    """The share of the weights that each layer keeps, so that 1 - `sparsity` of all are kept.

    Shares are proportional to the sum of a weight's dimensions over their product (the Erdős–Rényi kernel of Evci et al.
    2020, "Rigging the Lottery", section 3); layers whose share would exceed 1 keep all their weights.
    """
    sizes = np.array([np.prod(shape) for shape in shapes], float)
    raw = np.array([sum(shape) for shape in shapes]) / sizes
    dense = np.zeros(len(shapes), bool)
    wanted = (1 - sparsity) * sizes.sum()
    while not dense.all():
        scale = max(0.0, wanted - sizes[dense].sum()) / (raw * sizes)[~dense].sum()
        too_large = ~dense & (raw * scale > 1)
        if not too_large.any():
            return np.where(dense, 1.0, raw * scale).tolist()  # type: ignore[no-any-return]
        dense |= too_large
    return [1.0] * len(shapes)
