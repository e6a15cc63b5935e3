"""A Hugging Face Trainer that records for scorers, distils, or both (docs/your-own-loop.md)."""

from typing import Any

from datapruning.errors import InvalidValue, MissingPackage, first_line
from datapruning.evidence.external_loop import LoopRecorder
from datapruning.training.kd_loss import KDLoss

try:
    import transformers
except ImportError as error:
    raise MissingPackage(
        f"datapruning.integrations.transformers needs the package transformers ({first_line(error)}): "
        "pip install 'transformers[torch]'"
    ) from None

IDS, TEACHER_LOGITS = "sample_id", "teacher_logits"
"""The columns of a batch that are not the model's; `dp.soft_labels(...).dataset()` adds both."""
ROUNDING = 1e-6


class SampleTrainer(transformers.Trainer):
    """A Trainer that knows which samples are in a batch, from its column `sample_id`.

    Args:
        recorder: of `dp.record`; it records every training batch.
        criterion: the loss, with the `teacher_logits` of the batch; default: the model's own.

    Raises:
        InvalidValue: `remove_unused_columns`, which would drop the ids; a recorder and several processes; a batch without
            the columns that are needed; what the recorder refuses.
    """

    def __init__(
        self, *args: Any, recorder: LoopRecorder | None = None, criterion: KDLoss | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.args.remove_unused_columns:
            raise InvalidValue(f"the Trainer would drop {IDS}: set remove_unused_columns=False in its TrainingArguments")
        if recorder is not None and self.args.world_size > 1:
            raise InvalidValue(
                f"the recorder needs all samples in one process, and the Trainer has {self.args.world_size}: train in one"
            )
        if criterion is not None:
            self.model_accepts_loss_kwargs = False  # our loss is the mean of a batch, whatever is accumulated
        self.recorder, self.criterion = recorder, criterion
        self.add_callback(_EpochCallback(self))

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """The loss of a batch, whose logits are recorded."""
        labels, ids, teacher_logits = (inputs.get(key) for key in ("labels", IDS, TEACHER_LOGITS))
        model_inputs = {key: value for key, value in inputs.items() if key not in (IDS, TEACHER_LOGITS)}
        loss, outputs = super().compute_loss(model, model_inputs, return_outputs=True, **kwargs)
        if model.training:
            if self.recorder is not None:
                if labels is None or ids is None:
                    raise InvalidValue(f"the recorder needs the columns labels and {IDS}; the batch has {', '.join(inputs)}")
                self.recorder.update(outputs["logits"], labels, ids)
            if self.criterion is not None:
                loss = self.criterion(outputs["logits"], labels, teacher_logits).total
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch without the columns that are not the model's."""
        model_inputs = {key: value for key, value in inputs.items() if key not in (IDS, TEACHER_LOGITS)}
        return super().prediction_step(model, model_inputs, *args, **kwargs)


class _EpochCallback(transformers.TrainerCallback):
    """Marks the epochs for the recorder and for a dataset with soft labels."""

    def __init__(self, trainer: SampleTrainer) -> None:
        self.trainer, self.recorder = trainer, trainer.recorder

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        epoch = int(state.epoch + ROUNDING)
        if hasattr(self.trainer.train_dataset, "set_epoch"):  # accelerate does so in a single process only
            self.trainer.train_dataset.set_epoch(epoch)
        if self.recorder is not None:
            self.recorder.start_epoch(epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.recorder is not None:
            self.recorder.end_epoch()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.recorder is not None:
            self.recorder.saved(int(state.epoch + ROUNDING) - 1)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.recorder is not None:
            self.recorder.finish()
