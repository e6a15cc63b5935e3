"""The rows of `metrics.jsonl`: what each epoch of a training reached."""

import json
from pathlib import Path

from datapruning.errors import InvalidFile, first_line
from datapruning.utils.records import Record, parse_record


class EpochRecord(Record):
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


def read_metrics(path: Path) -> list[EpochRecord]:
    """Read a metrics.jsonl; empty where there is none.

    Raises:
        InvalidFile: a row that is not JSON, an unknown or a missing key, or a value of a wrong type.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read: {first_line(error)}") from None
    return [parse_record(EpochRecord, row, f"{path}, row {number}") for number, row in enumerate(rows, 1)]
