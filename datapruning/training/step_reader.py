"""What the training steps of an epoch compute with, read ahead and put on the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.training.infobatch import InfoBatch
from datapruning.training.losses import DistillationLoss, Loss
from datapruning.training.self_distillation.base import SelfDistillation, read_auxiliary_batches
from datapruning.training.soft_label_reader import SoftLabelReader
from datapruning.training.step import StepInputs
from datapruning.utils.upload import upload


@dataclass
class StepReader:
    """Reads the inputs of a training's steps.

    Attributes:
        loader: of the training split.
        ids: int64 [n], the samples of the training.
        num_epochs: of the training.
        views: the augmentation.
        loss: whose soft labels come with the batches.
        method: of self-distillation, whose auxiliary batches come with them.
        device: where the inputs are wanted.
    """

    loader: Loader
    ids: NDArray[np.int64]
    num_epochs: int
    views: Augmentation
    loss: Loss
    method: SelfDistillation | None
    device: torch.device
    _teacher: SoftLabelReader = field(init=False)
    _self_teacher: SoftLabelReader = field(init=False)

    def __post_init__(self) -> None:
        labels = self.loss.labels if isinstance(self.loss, DistillationLoss) else None
        settings = (self.ids, self.views.policy.num_views, self.num_epochs, self.device)
        self._teacher = SoftLabelReader(labels, *settings)
        self._self_teacher = SoftLabelReader(self.method.self_teacher if self.method else None, *settings)

    def read(
        self, batches: Sequence[NDArray[np.int64]], epoch: int, infobatch: InfoBatch | None = None
    ) -> Iterator[tuple[Batch, StepInputs]]:
        """Each batch of ids, and what its step computes with, in the view of `epoch`, with the weights of `infobatch`.

        Ids, weights and soft labels are uploaded for many batches at once.
        """
        method, epoch_batches = self.method, [(ids, epoch) for ids in batches]
        requests = method.auxiliary_batches(batches, epoch) if method else [None] * len(batches)
        trained = requests if method and method.trains_on_auxiliary else [None] * len(batches)
        all_ids, sizes = np.concatenate(batches), [len(ids) for ids in batches]
        weights: Sequence[Tensor | None] = [None] * len(batches)
        if infobatch:
            weights = torch.split(upload(infobatch.weights(all_ids), self.device), sizes)
        columns = zip(
            self.views.read(self.loader, batches, epoch),
            read_auxiliary_batches(requests, self.views, self.loader),
            torch.split(upload(all_ids, self.device), sizes),
            weights,
            self._teacher.read(epoch_batches),
            self._self_teacher.read(epoch_batches),
            self._teacher.read(trained),
            strict=True,
        )
        for (batch, images), auxiliary, device_ids, batch_weights, teacher, self_teacher, auxiliary_teacher in columns:
            inputs = batch._replace(
                images=images, device_ids=device_ids, teacher_logits=teacher, self_teacher_logits=self_teacher
            )
            if auxiliary is not None:  # its raw images are not needed any more
                auxiliary_batch = auxiliary.batch._replace(images=auxiliary.images, teacher_logits=auxiliary_teacher)
                auxiliary = auxiliary._replace(batch=auxiliary_batch)
            yield batch, StepInputs(inputs, auxiliary, batch_weights)
