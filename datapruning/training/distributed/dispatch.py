"""Whether work is shared by all processes or done by process 0 alone; used by the trainer and by evaluation passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from datapruning.data.loaders.loader import Batch, Loader
from datapruning.runs.process_group import SharedLoader
from datapruning.training.inference import ForwardPass
from datapruning.utils.console import info

if TYPE_CHECKING:
    from datapruning.training.distributed.coordinator import SharedTraining


def shared_training(loader: Loader, model: nn.Module) -> type[SharedTraining] | None:
    """What trains in all processes; None with one process, and where the others cannot build the network."""
    if not isinstance(loader, SharedLoader):
        return None
    from datapruning.training.distributed.coordinator import SharedTraining
    from datapruning.training.distributed.messages import ModelSpec

    if ModelSpec.of(model) is None:
        info("the network was not made by its name: process 0 trains alone, the others wait")
        return None
    return SharedTraining


def shared_pass(
    loader: Loader, model: nn.Module, num_batches: int
) -> Callable[[ForwardPass], Iterator[tuple[Batch, list[Tensor]]]] | None:
    """What does an evaluation pass in all processes; None where this process does it alone.

    It does so with one process, with fewer than two batches, where the others cannot build the network, and where the
    network has hooks, which would miss the passes of the others.
    """
    if not isinstance(loader, SharedLoader) or num_batches < 2:
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return None
    from datapruning.training.distributed.coordinator import shared_outputs
    from datapruning.training.distributed.messages import ModelSpec

    return None if ModelSpec.of(model) is None else shared_outputs
