"""What is dealt to all processes and what process 0 does alone: asked by the loop and by evaluation passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from datapruning.config.training import TrainConfig
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Loader
from datapruning.runs.process_group import SharedLoader
from datapruning.training.distributed.serialization import describe_model
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import Masks
from datapruning.utils.console import info

if TYPE_CHECKING:
    from datapruning.training.distributed.coordinator import SharedTraining


def shared_training(
    loader: Loader,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    views: Augmentation,
    training: TrainConfig,
    distil: SelfDistillation | None,
    masks: Masks | None,
    seed: int,
) -> SharedTraining | None:
    """A training that all processes share; None where this one trains alone.

    Alone it does where there is no other one, and where nobody else can make the network.
    """
    if not isinstance(loader, SharedLoader):
        return None
    if describe_model(model) is None:
        info("the network is not one that dprune makes by name: process 0 trains alone, the others wait")
        return None
    from datapruning.training.distributed.coordinator import SharedTraining

    train = distil is not None and distil.trains_on_auxiliary
    return SharedTraining(loader, model, optimizer, views, training, masks, seed, train)


def shared_pass(loader: Loader, model: nn.Module, batches: int) -> Callable[..., Any] | None:
    """What does an evaluation pass over so many batches in all processes; None where this one does it alone.

    Alone it does where somebody listens to the network's passes, too: of those of the others he would not hear.
    """
    if not isinstance(loader, SharedLoader) or batches < 2 or describe_model(model) is None:
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return None
    from datapruning.training.distributed.coordinator import shared_outputs

    return shared_outputs
