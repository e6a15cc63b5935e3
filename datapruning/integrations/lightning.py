"""Callbacks for Lightning: recording for scorers, and the views of soft labels (docs/your-own-loop.md)."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from datapruning.errors import InvalidValue, MissingPackage, first_line
from datapruning.evidence.external_loop import LoopRecorder
from datapruning.tools.soft_labels import SoftLabelDataset

try:
    import lightning
except ImportError as error:
    raise MissingPackage(
        f"datapruning.integrations.lightning needs the package lightning ({first_line(error)}): pip install lightning"
    ) from None

Unpack = Callable[[Any], tuple[Tensor, Tensor]]


def second_and_third(batch: Any) -> tuple[Tensor, Tensor]:
    """Labels and sample ids of a batch (images, labels, ids, ...).

    Raises:
        InvalidValue: another kind of batch.
    """
    if not isinstance(batch, tuple | list) or len(batch) < 3:
        raise InvalidValue("a batch is (images, labels, ids); for another kind give unpack, which returns labels and ids")
    return batch[1], batch[2]


class RecorderCallback(lightning.Callback):
    """Records every training batch; `training_step` returns {"loss": ..., "logits": ...}.

    Args:
        recorder: of `dp.record`.
        unpack: the labels and the sample ids int64 [n] of a batch; default: those of (images, labels, ids, ...).

    Raises:
        InvalidValue: a `training_step` that returns no logits, several processes, and what the recorder refuses.
    """

    def __init__(self, recorder: LoopRecorder, unpack: Unpack = second_and_third) -> None:
        self.recorder, self.unpack = recorder, unpack

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse several processes, each of which has a part of the samples."""
        if trainer.world_size > 1:
            raise InvalidValue(
                f"the recorder needs all samples in one process, and the Trainer has {trainer.world_size}: set devices=1"
            )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Start an epoch of the recording."""
        self.recorder.start_epoch(trainer.current_epoch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record a batch."""
        if not isinstance(outputs, Mapping) or "logits" not in outputs:
            raise InvalidValue('the recorder needs the logits: return {"loss": loss, "logits": logits} from training_step')
        labels, ids = self.unpack(batch)
        self.recorder.update(outputs["logits"], labels, ids)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End the epoch."""
        self.recorder.end_epoch()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Keep what a resume from this checkpoint, at the end of an epoch, needs."""
        self.recorder.saved(trainer.current_epoch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Finish the recording."""
        self.recorder.finish()


class SoftLabelCallback(lightning.Callback):
    """Shows each epoch its views of a dataset with soft labels, `dp.soft_labels(...).dataset()`.

    Its batches are (images, labels, ids, teacher logits); the loss, in `training_step`, is that of `dp.KDLoss`.
    """

    def __init__(self, dataset: SoftLabelDataset) -> None:
        self.dataset = dataset

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Choose the views of the epoch."""
        self.dataset.set_epoch(trainer.current_epoch)
