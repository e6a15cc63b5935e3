"""A row of `metrics.jsonl`: what one epoch of training reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, in means over its samples.

    Attributes:
        epoch: counted from 0.
        loss: the loss that was minimised.
        train_accuracy: in percent, on the augmented images as they were trained on.
        lr: learning rate of the last step.
        step: optimiser steps made so far.
        seconds: of this epoch.
        label_loss: label cross-entropy before it was weighted; None where the loss has no such term.
        kd_loss: KD loss (T^2 * KL) before it was weighted; None where there is no teacher.
        self_distillation_loss: the term of self-distillation before it was weighted; None where there is none.
    """

    epoch: int
    loss: float
    train_accuracy: float
    lr: float
    step: int
    seconds: float
    label_loss: float | None = None
    kd_loss: float | None = None
    self_distillation_loss: float | None = None

    def to_dict(self) -> dict[str, int | float]:
        """The fields that have a value, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}
