"""The state of a training, and its extensions: all that a checkpoint has to hold besides network and optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.runs.metrics import EpochRecord
from datapruning.training.callbacks import Callback
from datapruning.training.ema import WeightEMA
from datapruning.training.infobatch import InfoBatch
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import MaskEnforcer, Masks
from datapruning.utils.records import Record


class PartialEpoch(Record):
    """What a checkpoint in the middle of an epoch holds in addition to tensors.

    Attributes:
        batches: number of batches trained on.
        seconds: spent on them.
        weight: sum of the samples' weights (their number, without dynamic pruning).
        samples: trained on.
        auxiliary_samples: see `TrainState`.
        auxiliary_forward: see `TrainState`.
    """

    batches: int
    seconds: float
    weight: float
    samples: int
    auxiliary_samples: int
    auxiliary_forward: int


class TrainState(Record):
    """How far a training is: what a checkpoint holds in addition to weights and optimiser state. The trainer changes it.

    Attributes:
        epoch: epochs done.
        step: the position in the schedule, in planned optimiser steps.
        samples_seen: samples trained on, repeats counted.
        seconds: spent on training.
        history: a record of each epoch.
        steps_skipped: planned steps that dynamic pruning left out.
        samples_skipped: samples that it left out.
        auxiliary_samples: samples of auxiliary batches (self-distillation) that went through a training pass.
        auxiliary_forward: samples of auxiliary batches that went through a forward pass alone.
        partial_epoch: of an epoch in whose middle the checkpoint was saved, else None.
    """

    model_config = ConfigDict(frozen=False)

    epoch: int = 0
    step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    history: list[EpochRecord] = Field(default_factory=list)
    steps_skipped: int = 0
    samples_skipped: int = 0
    auxiliary_samples: int = 0
    auxiliary_forward: int = 0
    partial_epoch: PartialEpoch | None = None

    @property
    def updates(self) -> int:
        """Optimiser steps that were made."""
        return self.step - self.steps_skipped


@dataclass(frozen=True)
class TrainExtensions:
    """What a training may have in addition to network and optimiser, each with a state of its own in the checkpoint.

    Attributes:
        infobatch: dynamic pruning of the epochs.
        self_distillation: adds a term to the loss.
        weight_masks: which weights are kept.
        ema: average of the weights.
        callbacks: called by the trainer.
    """

    infobatch: InfoBatch | None
    self_distillation: SelfDistillation | None
    weight_masks: MaskEnforcer | None
    ema: WeightEMA | None
    callbacks: Sequence[Callback] = ()

    @classmethod
    def create(
        cls,
        model: nn.Module,
        ids: NDArray[np.int64],
        config: TrainConfig,
        seed: int,
        self_distillation: SelfDistillation | None,
        masks: Masks | None,
        callbacks: Sequence[Callback],
    ) -> TrainExtensions:
        """Those that the settings ask for. The masks are applied from here on."""
        weight_masks = MaskEnforcer(masks, model) if masks else None
        infobatch = InfoBatch.create(config, ids, seed)
        return cls(infobatch, self_distillation, weight_masks, WeightEMA.create(model, config.ema), callbacks)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what a checkpoint holds.

        Raises:
            IncompatibleInputs: it was made with other masks.
        """
        if self.weight_masks is not None:
            self.weight_masks.check(tensors)
        for part in (self.infobatch, self.self_distillation, self.ema, *self.callbacks):
            if part is not None:
                part.restore(tensors)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        parts = (self.infobatch, self.self_distillation, self.weight_masks, self.ema, *self.callbacks)
        return {name: tensor for part in parts if part is not None for name, tensor in part.tensors().items()}
