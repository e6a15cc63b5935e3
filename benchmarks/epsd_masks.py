"""Does the self-distillation term affect EPSD's mask more than the noise of the batch?

    DPRUNE_DATA=... python -m benchmarks.epsd_masks

Masks of a small ResNet at its initialisation, Fashion-MNIST, 95% removed: how many kept weights two masks share, as a
part of those kept. With and without the term on the same batches, and without it on other batches. Nothing is trained.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.common import mean_spread, publish, table
from benchmarks.epsd_rows import METHODS, MODEL, open_small
from datapruning.runs.context import Context
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.meta_gradient import SaliencyLoss, mask_gradient
from datapruning.training.sparsity.prune import prune_at_init, sample_saliency_batches
from datapruning.utils.console import info, quiet
from datapruning.utils.malloc import keep_freed_memory

SEEDS = (0, 1, 2)
REMOVED = 0.95
OTHER = 1000
"""Added to the seed for the control on other batches."""
VERSIONS: dict[str, dict[str, Any]] = {
    "0 steps": {"inner_steps": 0},
    "3 steps": {},
    "3 steps, rate 0.5": {"inner_lr": 0.5},
    "10 steps": {"inner_steps": 10},
    "30 steps, first-order": {"inner_steps": 30, "mode": "first-order"},
    "3 steps, batch 512": {"batch_size": 512},
    "3 steps, 8 batches": {"batches": 8},
    "3 steps, fresh batches": {"fresh_inner_batches": True},
}
COMMAND = "DPRUNE_DATA=... python -m benchmarks.epsd_masks"


def shared(one: Masks, other: Masks) -> float:
    """Return the fraction of one mask's kept weights that the other mask keeps, too."""
    return sum(int((one.tensors[name] & other.tensors[name]).sum()) for name in one.tensors) / one.kept


def masks_by(context: Context, seed: int, method: str, looks: int, **version: Any) -> Masks:
    """Compute the mask of the network initialised by `seed`, on the saliency batches of seed `looks`."""
    model, ids = context.new_model(MODEL, seed), np.arange(context.data.total)
    context = context.with_settings("sparsity", sparsity=REMOVED, rounds=1, **version)
    with quiet():
        pruned = prune_at_init(context.with_settings("self_distill", method=method), model, ids, CrossEntropy(), looks)
    return pruned.masks


def term_sizes(context: Context, seed: int, method: str, **version: Any) -> tuple[float, float]:
    """Return both terms of the loss at the point of the saliency."""
    context = context.with_settings("sparsity", sparsity=REMOVED, **version).with_settings("self_distill", method=method)
    settings, loss = context.recipe.sparsity, SaliencyLoss(context.recipe.self_distill)
    inside, outside = sample_saliency_batches(context, np.arange(context.data.total), seed, None)
    return mask_gradient(context.new_model(MODEL, seed).train(), loss, inside, outside, settings)[1]


def main() -> None:
    keep_freed_memory()
    lines, data = [], []
    with TemporaryDirectory() as folder, reproducible(1):
        context = open_small(Path(folder))
        for name, version in VERSIONS.items():
            overlaps: dict[str, list[float]] = {}
            for seed in SEEDS:
                plain = masks_by(context, seed, "none", seed, **version)
                overlaps.setdefault("other batches", []).append(
                    shared(plain, masks_by(context, seed, "none", seed + OTHER, **version))
                )
                for method in METHODS:
                    masks = masks_by(context, seed, method, seed, **version)
                    overlaps.setdefault(method, []).append(shared(plain, masks))
                    if version.get("inner_steps", 3) <= 3 and version.get("batches", 1) == 1:
                        masks = masks_by(context, seed, method, seed, match_gradients=True, **version)
                        overlaps.setdefault(f"{method}, matched", []).append(shared(plain, masks))
            base, extra = term_sizes(context, SEEDS[0], "cs-kd", **version)
            info(f"{name}: {overlaps}")
            cells = [mean_spread(overlaps[key], 3) if key in overlaps else "" for key in ("other batches", *METHODS)]
            cells += [mean_spread(overlaps[key], 3) if (key := f"{m}, matched") in overlaps else "" for m in METHODS]
            lines.append([name, f"{base:.2f} / {extra:.3f}", *cells])
            data.append({"version": name, "settings": version, "shared": overlaps, "terms of cs-kd": [base, extra]})
    body = (
        "Part of the kept weights that two masks share; mean ± standard deviation over seeds. 'other batches': the mask of "
        "the labels alone against itself on another batch, which is the noise of the batch. Then the labels alone against "
        "labels and self-distillation on the same batch; 'matched': the term weighed so that its gradient is as long as "
        "that of the labels. A term matters where it moves the mask further than another batch does.\n\n"
        + table(
            ["batches", "CE / CS-KD term", "other batches", *METHODS, *(f"{m}, matched" for m in METHODS)], lines
        )
        + "\n\nps-kd at 0 steps has no earlier prediction: its mask is that of the labels. dlb sees two views of each "
        "image, which moves the mask even without its term."
    )  # fmt: skip
    publish("epsd_masks", "Does the self-distillation term matter in the mask?", COMMAND, body, {"versions": data})


if __name__ == "__main__":
    main()
