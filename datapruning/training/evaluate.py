"""Evaluation: logits of a model in evaluation mode, always in batches of one padded shape (other shapes, other bits)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.loader import Batch, Loader
from datapruning.data.order import EVALUATION_ROWS, evaluation_batches
from datapruning.data.views import Views


def batch_logits(
    model: nn.Module, loader: Loader, batches: list[NDArray[np.int64]], views: Views, epoch: int | None = None
) -> Iterator[tuple[Batch, Tensor]]:
    """(batch, logits float32 [n, classes]) for each batch; the view of `epoch`, or none. The model's mode is put back."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            plain = ((batch, views.normalise(batch.images)) for batch in loader.read(batches)) if epoch is None else None
            for batch, images in plain or views.read(loader, batches, epoch or 0):
                yield batch, model(images).float()
    finally:
        model.train(was_training)


def predict(
    model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Views, rows: int = EVALUATION_ROWS
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """(ids, labels, logits float32 [n, classes]) in parts, without augmentation, every id once and in order."""
    left = len(ids)
    for batch, logits in batch_logits(model, loader, evaluation_batches(ids, rows), views):
        count = min(left, rows)
        left -= count
        yield batch.ids[:count], batch.labels[:count], logits[:count]


def accuracy(model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Views) -> float:
    """Share of `ids` whose label is the largest logit, in percent."""
    correct = [(logits.argmax(1) == labels).sum() for _, labels, logits in predict(model, loader, ids, views)]
    return 100 * int(torch.stack(correct).sum()) / len(ids)
