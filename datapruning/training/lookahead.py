"""Lookahead: every few steps of an optimiser the weights are pulled back towards slow weights (Zhang et al. 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from datapruning.training.state import Checkpointed

INTERVAL = 5
"""Optimiser steps between two updates of the slow weights (k in the paper)."""
PREFIX, STEPS = "lookahead.", "lookahead-steps"


class Lookahead(Checkpointed):
    """Slow weights of a model, which begin as its weights after the first step of the optimiser.

    After every fifth step they move by `step_size` of their distance to the weights, and the weights continue from there.
    """

    def __init__(self, model: nn.Module, step_size: float) -> None:
        self.step_size, self.steps = step_size, 0
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._slow: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Count a step of the optimiser, which has just been made."""
        self.steps += 1
        weights: list[Tensor] = list(self._weights.values())
        if not self._slow:
            self._slow = {name: weight.detach().clone() for name, weight in self._weights.items()}
        if self.steps % INTERVAL == 0:
            slow = list(self._slow.values())
            torch._foreach_lerp_(slow, weights, self.step_size)
            torch._foreach_copy_(weights, slow)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the slow weights, and how many steps there were."""
        return {STEPS: torch.tensor(self.steps), **{PREFIX + name: value for name, value in self._slow.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what a checkpoint holds."""
        self.steps = int(tensors[STEPS])
        saved = {name: tensors[PREFIX + name] for name in self._weights if PREFIX + name in tensors}
        self._slow = {name: torch.empty_like(self._weights[name]).copy_(value).detach() for name, value in saved.items()}
