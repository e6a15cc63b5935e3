"""How well a pruned network follows its dense twin before either is trained: what EPSD calls distillability, as a number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity

from datapruning.runs.context import Context
from datapruning.training.data_init import initialize_from_images
from datapruning.training.sparsity.masks import MaskEnforcer, Masks

NUM_IMAGES = 512


class StartAgreement(NamedTuple):
    """Of a pruned network at its initialisation with the dense network of the same initialisation.

    Attributes:
        correlation: of their logits over the images, each class's mean taken off: 1 where pruning changes nothing but the
            scale, 0 where the pruned network's output does not depend on the image.
        same_class: share of the images for which both have the largest logit at the same class.
    """

    correlation: float
    same_class: float


def agreement_at_start(context: Context, masks: Masks, ids: NDArray[np.int64], seed: int) -> StartAgreement:
    """Compare both on 512 of the training images `ids`, int64 [n], without augmentation.

    Batch norms use the statistics of the images, as in a training step: running ones are not there yet.
    """
    dense, pruned = (_start_logits(context, given, ids, seed) for given in (None, masks))
    same_class = float((dense.argmax(1) == pruned.argmax(1)).double().mean())
    correlation = cosine_similarity((dense - dense.mean(0)).flatten(), (pruned - pruned.mean(0)).flatten(), 0)
    return StartAgreement(float(correlation), same_class)


def _start_logits(context: Context, masks: Masks | None, ids: NDArray[np.int64], seed: int) -> Tensor:
    """Logits float32 [512, classes] of a student at its start."""
    loader, views = context.loader("train"), context.views
    model = context.new_model(context.recipe.train.model, seed, "student")
    initialize_from_images(model, loader, ids, views)
    if masks is not None:
        MaskEnforcer(masks, model)
    model.train()
    chosen = np.random.default_rng(seed).permutation(ids)[:NUM_IMAGES]
    (batch,) = loader.read([np.sort(chosen)])
    with torch.no_grad():
        return model(views.normalise(batch.images)).float()
