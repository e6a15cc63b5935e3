"""Build a trainer and train, in one call."""

from __future__ import annotations

from typing import Any

from datapruning.training.checkpoint import Checkpoint
from datapruning.training.state import TrainState
from datapruning.training.trainer import Trainer


def fit(
    *arguments: Any,
    checkpoint: Checkpoint | None = None,
    init_from: Checkpoint | None = None,
    save_final_to: Checkpoint | None = None,
    stop_epoch: int | None = None,
    **options: Any,
) -> TrainState:
    """Return `Trainer(*arguments, **options).fit(...)`."""
    trainer = Trainer(*arguments, **options)
    return trainer.fit(checkpoint, init_from=init_from, save_final_to=save_final_to, stop_epoch=stop_epoch)
