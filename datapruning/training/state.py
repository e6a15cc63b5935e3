"""The state of a training: what a checkpoint holds in addition to tensors."""

from collections.abc import Mapping

from pydantic import ConfigDict, Field
from torch import Tensor

from datapruning.runs.metrics import EpochRecord
from datapruning.utils.cost import ComputeCost
from datapruning.utils.records import Record


class Checkpointed:
    """A part of a training that may have a state of its own in the checkpoint; none unless overridden.

    `per_process`: where several processes train one network, each has another state (of the samples that it trains on).
    """

    per_process = False

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold, under names of this part's own."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what a checkpoint holds; `tensors` has those of other parts, too."""


class PartialEpoch(Record):
    """Counts of an epoch so far: what a checkpoint in its middle holds in addition to tensors.

    `weight` is the sum of the samples' weights: their number, without dynamic pruning. See `TrainState` for the others.
    """

    model_config = ConfigDict(frozen=False)

    batches: int = 0
    seconds: float = 0.0
    weight: float = 0.0
    samples: int = 0
    auxiliary_samples: int = 0
    auxiliary_forward: int = 0


class TrainState(Record):
    """How far a training is: what a checkpoint holds in addition to weights and optimiser state. The trainer changes it.

    Attributes:
        epoch: epochs done.
        step: the position in the schedule, in planned optimiser steps, of which dynamic pruning left out `steps_skipped`.
        samples_seen: samples trained on, repeats counted; dynamic pruning left out `samples_skipped` more.
        auxiliary_samples: samples of auxiliary batches (self-distillation) that went through a training pass.
        auxiliary_forward: samples of auxiliary batches that went through a forward pass alone.
        flops: floating-point operations of all these passes, at the sizes that the network saw.
        partial_epoch: of an epoch in whose middle the checkpoint was saved, else None.
        processes: how many train together.
        device: "cpu" or "cuda".
        precision: of training passes, "fp32" or "bf16".
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
    flops: int = 0
    partial_epoch: PartialEpoch | None = None
    processes: int = 1
    device: str = "cpu"
    precision: str = "fp32"

    def cost(self) -> ComputeCost:
        """What the training cost so far."""
        samples = self.samples_seen + self.auxiliary_samples
        return ComputeCost(samples, self.auxiliary_forward, round(self.seconds, 3), self.flops)

    @property
    def updates(self) -> int:
        """Optimiser steps that were made."""
        return self.step - self.steps_skipped
