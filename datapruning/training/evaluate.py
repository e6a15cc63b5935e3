"""Evaluation: logits of a model in evaluation mode, always in batches of one padded shape (other shapes, other bits)."""

import base64
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.batching import EVAL_BATCH_SIZE, evaluation_batches
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.training.inference import ForwardPass, local_outputs
from datapruning.utils.processes import num_processes


def batch_logits(
    model: nn.Module, loader: Loader, batches: list[NDArray[np.int64]], views: Augmentation, epoch: int | None = None
) -> Iterator[tuple[Batch, Tensor]]:
    """(batch, logits float32 [n, classes]) for each batch; the view of `epoch`, or none. The model's mode is put back.

    Several processes share the batches, and each gets the logits of all; batches that another one computed have no images.
    """
    for batch, (logits,) in _outputs(ForwardPass(model, loader, batches, views, epoch)):
        yield batch, logits


def _outputs(forward_pass: ForwardPass) -> Iterator[tuple[Batch, list[Tensor]]]:
    model = forward_pass.model
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield from _compute(forward_pass)
    finally:
        model.train(was_training)


def _compute(forward_pass: ForwardPass) -> Iterator[tuple[Batch, list[Tensor]]]:
    if num_processes() == 1:
        return local_outputs(forward_pass)
    from datapruning.training.distributed.collectives import outputs_of

    return outputs_of(forward_pass)(forward_pass)


def predict(
    model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Augmentation, rows: int = EVAL_BATCH_SIZE
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """(ids, labels, logits float32 [n, classes]) in parts, without augmentation, every id once and in order."""
    remaining = len(ids)
    for batch, logits in batch_logits(model, loader, evaluation_batches(ids, rows), views):
        count = min(remaining, rows)
        remaining -= count
        yield batch.ids[:count], batch.labels[:count], logits[:count]


def predict_with_features(
    model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Augmentation
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor, Tensor]]:
    """As `predict`, with the inputs of the last linear layer, [n, width]."""
    remaining = len(ids)
    for batch, (logits, inputs) in _outputs(ForwardPass(model, loader, evaluation_batches(ids), views, features=True)):
        count = min(remaining, len(batch.ids))
        remaining -= count
        yield batch.ids[:count], batch.labels[:count], logits[:count], inputs[:count]


def accuracy(model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Augmentation) -> float:
    """Share of `ids` whose label is the largest logit, in percent."""
    return 100 * int(predict_correct(model, loader, ids, views).sum()) / len(ids)


def predict_correct(model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Augmentation) -> NDArray[np.bool_]:
    """Bool [ids]: which samples the network classifies correctly, without augmentation."""
    batches = predict(model, loader, ids, views)
    correct: NDArray[np.bool_] = torch.cat([logits.argmax(1) == labels for _, labels, logits in batches]).cpu().numpy()
    return correct


def encode_bits(bits: NDArray[np.bool_]) -> str:
    """Bool [n] as base85 text of its packed bits, for a trial of a store."""
    return base64.b85encode(np.packbits(bits).tobytes()).decode()


def decode_bits(text: str, count: int) -> NDArray[np.bool_]:
    """Bool [count]: the inverse of `encode_bits`."""
    return np.unpackbits(np.frombuffer(base64.b85decode(text), np.uint8), count=count).astype(np.bool_)
