"""How far a training is, and what belongs to it beside network and optimiser: all that a checkpoint has to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.errors import InvalidFile
from datapruning.training.callbacks import Observer
from datapruning.training.ema import MovingAverage
from datapruning.training.infobatch import InfoBatch
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import Held, Masks


@dataclass
class Progress:
    """How far a training is: what a checkpoint holds beside weights and momentum.

    Attributes:
        epoch: epochs done.
        step: the place in the schedule, in planned updates.
        samples_seen: presentations.
        seconds: spent on training.
        history: a row an epoch; its `lr` is the rate of the epoch's last update.
        steps_skipped: planned updates that dynamic pruning left out.
        samples_skipped: presentations that it left out.
        samples_again: companions of batches that went through a training pass, too (self-distillation).
        samples_forward: companions that went through a forward pass alone.
        begun: of an epoch that has begun, what a checkpoint in its middle holds: `batches` that were trained on,
            `seconds`, and the sums of `Updates.sums`. Else empty.
    """

    epoch: int = 0
    step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    steps_skipped: int = 0
    samples_skipped: int = 0
    samples_again: int = 0
    samples_forward: int = 0
    begun: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """As it was saved.

        Raises:
            InvalidFile: by a version of this package that this one cannot follow.
        """
        unknown = set(state) - {each.name for each in fields(cls)}
        if unknown:
            raise InvalidFile(f"a checkpoint holds '{min(unknown)}', which only another version of this package understands")
        return cls(**state)

    @property
    def updates(self) -> int:
        """Updates that were made."""
        return self.step - self.steps_skipped


@dataclass(frozen=True)
class Parts:
    """What a training may have beside network and optimiser, each with a state of its own.

    Attributes:
        pruning: dynamic pruning of the epochs.
        distil: a term of the loss.
        held: which weights are kept.
        average: of the weights.
        observers: who looks on.
    """

    pruning: InfoBatch | None
    distil: SelfDistillation | None
    held: Held | None
    average: MovingAverage | None
    observers: Sequence[Observer]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        ids: NDArray[np.int64],
        training: TrainConfig,
        seed: int,
        distil: SelfDistillation | None,
        masks: Masks | None,
        observers: Sequence[Observer],
    ) -> Parts:
        """Those that the settings ask for. Masks hold from here on."""
        held = Held(masks, model) if masks else None
        return cls(InfoBatch.of(training, ids, seed), distil, held, MovingAverage.of(model, training.ema), observers)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint holds.

        Raises:
            IncompatibleInputs: it is of other masks.
        """
        if self.held is not None:
            self.held.check(tensors)
        for part in (self.pruning, self.distil, self.average, *self.observers):
            if part is not None:
                part.restore(tensors)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        parts = (self.pruning, self.distil, self.held, self.average, *self.observers)
        return {name: tensor for part in parts if part is not None for name, tensor in part.tensors().items()}
