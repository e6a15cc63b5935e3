"""What is known of an epoch when it ends: its counts, mean losses and accuracy on the samples it trained on."""

from collections.abc import Mapping

import torch
from torch import Tensor

from datapruning.data.loaders.loader import Batch
from datapruning.training.distributed.collectives import all_reduce
from datapruning.training.losses import LossTerms
from datapruning.training.self_distillation.base import AuxiliaryBatch
from datapruning.training.state import PartialEpoch
from datapruning.utils.processes import num_processes

LOSSES, CORRECT, COUNTS = "epoch.losses", "epoch.correct", "epoch.counts"
COUNTED = ("weight", "samples", "auxiliary_samples", "auxiliary_forward")
"""The fields of `PartialEpoch` that each process has its own of."""


class EpochStats:
    """Running sums over the samples of one epoch, on the device, so that nothing waits; `weighted` under dynamic pruning."""

    def __init__(self, device: torch.device, *, weighted: bool) -> None:
        self._losses: dict[str, Tensor] = {}
        self._correct = torch.zeros((), dtype=torch.float32 if weighted else torch.int64, device=device)
        self.counts = PartialEpoch()

    def record(
        self, batch: Batch, logits: Tensor, terms: LossTerms, weights: Tensor | None = None, weight_sum: float = 0.0
    ) -> None:
        """Add a micro-batch: logits float32 [n, classes], scalar losses; under dynamic pruning weights float32 [n]."""
        size = len(batch.ids)
        for name, term in terms._asdict().items():
            if term is not None:
                value = term.detach() * size
                self._losses[name] = self._losses[name] + value if name in self._losses else value
        correct = logits.argmax(1) == batch.labels
        if weights is None:
            self._correct += correct.sum()
            self.counts.weight += size
        else:
            self._correct += (weights * correct).sum()
            self.counts.weight += weight_sum
        self.counts.samples += size

    def count_auxiliary(self, auxiliary: AuxiliaryBatch | None, *, trained: bool) -> None:
        """Count the samples of an auxiliary batch."""
        if auxiliary is not None and trained:
            self.counts.auxiliary_samples += len(auxiliary.batch.ids)
        elif auxiliary is not None:
            self.counts.auxiliary_forward += len(auxiliary.batch.ids)

    def mean_losses(self) -> dict[str, float]:
        """The mean of each loss term over the samples, by its name in `LossTerms`."""
        return {name: float(value) / self.counts.weight for name, value in self._losses.items()}

    def accuracy(self) -> float:
        """Share of the samples whose label had the largest logit, in percent."""
        return float(100 * self._correct.item() / self.counts.weight)

    def sum_over_processes(self) -> None:
        """Take the sums of all processes in the place of those of this one."""
        sums = [self._correct, *self._losses.values()]
        summed = all_reduce(torch.cat([self._counted(), torch.stack([value.double() for value in sums]).cpu()]))
        for name, value in zip(COUNTED, summed.tolist(), strict=False):
            setattr(self.counts, name, value if name == "weight" else int(value))
        self._correct, *losses = summed[len(COUNTED) :]
        self._losses = dict(zip(self._losses, losses, strict=True))

    def _counted(self) -> Tensor:
        return torch.tensor([float(getattr(self.counts, name)) for name in COUNTED], dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        """The sums that are on the device."""
        counts = {COUNTS: self._counted()} if num_processes() > 1 else {}
        return {CORRECT: self._correct, **{f"{LOSSES}.{name}": value for name, value in self._losses.items()}, **counts}

    def restore(self, partial: PartialEpoch, tensors: Mapping[str, Tensor]) -> None:
        """Continue in the middle of an epoch."""
        self.counts = partial
        if COUNTS in tensors:  # of another process than the one that saved
            counts = dict(zip(COUNTED, tensors[COUNTS].tolist(), strict=True))
            self.counts = partial.model_copy(update={name: type(getattr(partial, name))(counts[name]) for name in COUNTED})
        self._correct.copy_(tensors[CORRECT])
        for name in LossTerms._fields:
            if (value := tensors.get(f"{LOSSES}.{name}")) is not None:
                self._losses[name] = value.to(self._correct.device)
