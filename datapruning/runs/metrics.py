"""The rows of `metrics.jsonl`: what each epoch of a training reached."""

import json
from pathlib import Path

from datapruning.errors import InvalidFile, first_line
from datapruning.utils.records import Record, parse_record


class EpochRecord(Record):
    """One epoch, counted from 0, in means over its samples.

    `train_accuracy` is in percent, on the augmented images as they were trained on; `lr` that of the last step; `step`
    counts the optimiser steps so far. The losses are the one that was minimised and its terms before they were weighted:
    label cross-entropy, KD loss (T^2 * KL) and self-distillation; None where the loss has no such term.
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
