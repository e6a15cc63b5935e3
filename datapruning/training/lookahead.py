"""Lookahead: every few steps of an optimiser the weights are pulled back towards slow weights (Zhang et al. 2019)."""

from typing import Any

import torch

INTERVAL = 5
"""Optimiser steps between two updates of the slow weights (k in the paper)."""
SLOW, COUNT = "slow_weight", "lookahead_steps"


def add_lookahead(optimizer: torch.optim.Optimizer, step_size: float) -> None:
    """Let an optimiser look ahead.

    After every fifth step the slow weights move by `step_size` of their distance to the weights, and the weights continue
    from there. The slow weights begin as the weights after the first step; they are part of the optimiser's state, and of
    checkpoints with it.
    """

    @torch.no_grad()
    def update_slow_weights(optimizer: torch.optim.Optimizer, _: Any, __: Any) -> None:
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = optimizer.state[weight]
                if SLOW not in state:
                    state[SLOW], state[COUNT] = weight.detach().clone(), torch.zeros(())
                state[COUNT] = state[COUNT].cpu() + 1  # a checkpoint restores it on the GPU, which int() would wait for
                if int(state[COUNT]) % INTERVAL == 0:
                    state[SLOW].lerp_(weight, step_size)
                    weight.copy_(state[SLOW])

    optimizer.register_step_post_hook(update_slow_weights)
