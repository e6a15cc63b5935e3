"""Which samples an epoch trains on, in which steps, at which learning rates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.config.training import TrainConfig
from datapruning.training.distributed.sharding import global_batch_sizes, global_batches, local_ids
from datapruning.training.infobatch import InfoBatch
from datapruning.training.state import TrainState


@dataclass(frozen=True)
class EpochPlan:
    """What an epoch trains on: for each optimiser step the sample ids int64, its position in the schedule, and its rate.

    `batches` are those of all processes together, `local_batches` what this one trains on.

    It covers `num_planned_steps` of the schedule, which have `num_planned_samples`: more than its own where `pruned`, when
    dynamic pruning left samples out. Images are scaled to `image_size` pixels each way; 0: they are not.
    """

    batches: list[NDArray[np.int64]]
    local_batches: list[NDArray[np.int64]]
    schedule_steps: list[int]
    learning_rates: list[float]
    num_planned_steps: int
    num_planned_samples: int
    pruned: bool
    image_size: int


def plan_epoch(
    ids: NDArray[np.int64],
    config: TrainConfig,
    seed: int,
    state: TrainState,
    num_steps: int,
    learning_rate: Callable[[int], float],
    infobatch: InfoBatch | None,
) -> EpochPlan:
    """Plan the epoch that `state` is at, of a training of `num_steps` steps on samples `ids`, int64 [n].

    `learning_rate` gives the rate of a step of the schedule; `infobatch` decides which samples the epoch skips.
    """
    sizes = global_batch_sizes(len(ids), config)
    num_planned = min(len(sizes), num_steps - state.step)
    kept = infobatch.begin_epoch(state.epoch, state.step / num_steps) if infobatch else None
    batches = global_batches(ids if kept is None else kept, config, seed, state.epoch)
    batches = batches[: -(-len(batches) * num_planned // len(sizes))]
    # evenly spread over the planned steps; `state.step` + k in an epoch that skips nothing
    steps = [state.step + (2 * k + 1) * num_planned // (2 * len(batches)) for k in range(len(batches))]
    is_small = state.step < config.progressive_until * num_steps
    return EpochPlan(
        batches, [local_ids(batch, config) for batch in batches], steps, [learning_rate(step) for step in steps],
        num_planned, sum(sizes[:num_planned]), pruned=kept is not None,
        image_size=config.progressive_size if is_small else 0,
    )  # fmt: skip
