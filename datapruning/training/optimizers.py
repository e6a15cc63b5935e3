"""The optimisers of the trainer, and their state in a checkpoint."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datapruning.config.training import TrainConfig

MOMENTUM = "momentum."
"""Prefix of the names of SGD's momentum in a checkpoint."""
STATE = "optimizer."
"""Prefix of the names of all other state, as in "optimizer.exp_avg.conv1.weight"."""
BETA2 = 0.999


def make_optimizer(model: nn.Module, training: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that the settings ask for, fused.

    With `decay_norms_biases` = false, weights of one dimension (norms and biases) are not decayed (He et al. 2019, "Bag of
    Tricks", section 3.1).
    """
    groups: Any = model.parameters()
    if not training.decay_norms_biases:
        decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        undecayed = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed}, {"params": undecayed, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
    if training.optimizer == "adamw":
        betas = (training.momentum, BETA2)
        return torch.optim.AdamW(groups, training.lr, betas, weight_decay=training.weight_decay, fused=True)
    return torch.optim.SGD(
        groups, training.lr, training.momentum, weight_decay=training.weight_decay,
        nesterov=training.momentum > 0, fused=True,
    )  # fmt: skip


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
