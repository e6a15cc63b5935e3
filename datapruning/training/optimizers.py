"""The optimisers of the trainer, and their state in a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.models.training_check import hidden_matrices
from datapruning.training.muon import Muon
from datapruning.utils.upload import upload

MOMENTUM = "momentum."
"""Prefix of the names of SGD's momentum in a checkpoint."""
STATE = "optimizer."
"""Prefix of the names of all other state, as in "optimizer.exp_avg.conv1.weight"."""
BETA2 = 0.999
LR_FACTOR = "lr_factor"
"""Key of a group: its learning rate over that of the schedule."""


def make_optimizer(model: nn.Module, training: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimiser that the settings ask for, fused where torch has a fused one.

    With `decay_norms_biases` = false, weights of one dimension (norms and biases) are not decayed (He et al. 2019, "Bag of
    Tricks", section 3.1); with `bias_lr_factor`, they have another learning rate.
    """
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    others = [weight for weight in model.parameters() if weight.ndim > 1]
    decay = training.weight_decay if training.decay_norms_biases else 0.0
    vector_group = {"params": vectors, "weight_decay": decay, LR_FACTOR: training.bias_lr_factor}
    optimizer: torch.optim.Optimizer
    if training.optimizer == "muon":
        optimizer = _make_muon(model, training, others, vector_group)
    else:
        groups: Any = model.parameters()
        if not training.decay_norms_biases or training.bias_lr_factor != 1:
            groups = [group for group in ({"params": others}, vector_group) if group["params"]]
        if training.optimizer == "adamw":
            betas = (training.momentum, BETA2)
            optimizer = torch.optim.AdamW(groups, training.lr, betas, weight_decay=training.weight_decay, fused=True)
        else:
            optimizer = torch.optim.SGD(
                groups, training.lr, training.momentum, weight_decay=training.weight_decay,
                nesterov=training.momentum > 0, fused=True,
            )  # fmt: skip
    return optimizer


def _make_muon(model: nn.Module, training: TrainConfig, weights: Sequence[nn.Parameter], vectors: Mapping[str, Any]) -> Muon:
    """Muon for the hidden matrices among `weights`; SGD for the last layer and for `vectors`."""
    matrices = hidden_matrices(model)
    ids = set(map(id, matrices))
    sgd_factor = training.sgd_lr / training.lr if training.lr else 0.0
    common = {"lr": training.lr, "momentum": training.momentum, "weight_decay": training.weight_decay}
    groups = [
        {"params": matrices, "orthogonalize": True},
        {"params": [weight for weight in weights if id(weight) not in ids], "orthogonalize": False, LR_FACTOR: sgd_factor},
        {**vectors, "orthogonalize": False, LR_FACTOR: sgd_factor * training.bias_lr_factor},
    ]
    return Muon({**common, **group} for group in groups if group["params"])


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step, in each group times the group's factor."""
    for group, rate in zip(optimizer.param_groups, group_rates(optimizer, learning_rate), strict=True):
        group["lr"] = rate


def group_rates(optimizer: torch.optim.Optimizer, learning_rate: float) -> list[float]:
    """The learning rate of each group of weights."""
    return [learning_rate * group.get(LR_FACTOR, 1.0) for group in optimizer.param_groups]


def use_tensor_rates(optimizer: torch.optim.Optimizer, device: torch.device) -> list[Tensor]:
    """Let the optimiser read its learning rates from tensors, float32 without dimensions, one a group, which are returned.

    A CUDA graph repeats the numbers that it was captured with; what changes from step to step has to be a tensor.
    """
    rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
        if "capturable" in group:  # AdamW checks it; its fused kernel counts steps on the GPU in any case
            group["capturable"] = True
    return rates


def rate_setter(
    optimizer: torch.optim.Optimizer, rates: Sequence[float], tensors: Sequence[Tensor] | None
) -> Callable[[int], None]:
    """A function that sets the learning rate of step k of an epoch, which is `rates[k]`.

    `tensors` are those of `use_tensor_rates`; their values are uploaded for all steps at once.
    """
    if tensors is None:
        return lambda step: set_learning_rate(optimizer, rates[step])
    values = upload(np.array([group_rates(optimizer, rate) for rate in rates], np.float32), tensors[0].device)

    def copy_rates(step: int) -> None:
        torch._foreach_copy_(list(tensors), list(values[step].unbind()))

    return copy_rates


def state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by the name of the weight, to be saved."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"{MOMENTUM}{name}" if key == "momentum_buffer" else f"{STATE}{key}.{name}"] = value
    return tensors


def restore_state(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore saved state, in each weight's memory format, as the optimiser would have made it."""
    saved: dict[str, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        if full.startswith(MOMENTUM):
            saved.setdefault(full.removeprefix(MOMENTUM), {})["momentum_buffer"] = value
        elif full.startswith(STATE):
            key, _, name = full.removeprefix(STATE).partition(".")
            saved.setdefault(name, {})[key] = value
    for name, parameter in model.named_parameters():
        for key, value in saved.get(name, {}).items():
            like = torch.empty_like(parameter) if value.shape == parameter.shape else value.to(parameter.device)
            optimizer.state[parameter][key] = like.copy_(value)
