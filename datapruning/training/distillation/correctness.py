"""Which samples a network classifies correctly, and the same as text for a trial of a store."""

import base64

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Loader
from datapruning.training.evaluate import predict


def predict_correct(model: nn.Module, loader: Loader, ids: NDArray[np.int64], views: Augmentation) -> NDArray[np.bool_]:
    """Return bool [ids]: which samples the network classifies correctly, without augmentation."""
    batches = predict(model, loader, ids, views)
    correct: NDArray[np.bool_] = torch.cat([logits.argmax(1) == labels for _, labels, logits in batches]).cpu().numpy()
    return correct


def encode_bits(bits: NDArray[np.bool_]) -> str:
    """Return bool [n] as base85 text of its packed bits."""
    return base64.b85encode(np.packbits(bits).tobytes()).decode()


def decode_bits(text: str, count: int) -> NDArray[np.bool_]:
    """Return bool [count]: the inverse of `encode_bits`."""
    return np.unpackbits(np.frombuffer(base64.b85decode(text), np.uint8), count=count).astype(np.bool_)
