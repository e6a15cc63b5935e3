"""Whether a network can be trained as the settings ask, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapruning.config.training import TrainConfig
from datapruning.errors import InvalidValue
from datapruning.models import check_model, meta_model
from datapruning.utils.processes import num_processes

if TYPE_CHECKING:
    from torch import nn


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights of two and more dimensions that are trained, without the last linear layer's: those that Muon trains."""
    from torch import nn

    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    last = linear[-1].weight if linear else None
    return [weight for weight in model.parameters() if weight.ndim > 1 and weight.requires_grad and weight is not last]


def check_training(training: TrainConfig, shape: tuple[int, int, int], classes: int) -> None:
    """Refuse settings that do not suit the images (height, width, channels) or the network.

    Raises:
        UnknownName: No such network.
        InvalidValue: A network that does not take such images, at their full size or scaled, or Muon for a network that has
            no convolution and no matrix beside its last layer, or `sync_batchnorm` with one process.
        MissingPackage: See `check_model`.
    """
    check_model(training.model, shape, classes)
    side = training.progressive_size
    if side > min(shape[:2]):
        raise InvalidValue(f"progressive_size is {side}, and the images are {shape[0]}x{shape[1]}: name a smaller one")
    if side:
        check_model(training.model, (side, side, shape[2]), classes)
    if training.sync_batchnorm and num_processes() == 1:
        raise InvalidValue(
            "sync_batchnorm takes the statistics of batch norms over several processes, and there is one: start several "
            "(torchrun's nproc_per_node), or set it to false"
        )
    if training.optimizer == "muon" and not hidden_matrices(meta_model(training.model, shape, classes)):
        raise InvalidValue(
            f"optimizer muon trains convolutions and matrices, and {training.model} has none beside its last layer: set the "
            "optimizer to sgd or adamw"
        )
