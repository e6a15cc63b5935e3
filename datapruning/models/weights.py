"""Weights by name: whether they are plain numbers, and the hash of their content."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from datapruning.errors import InvalidFile


def validate_weights(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights, if they are plain tensors of finite numbers, and no expanded views of fewer numbers.

    Raises:
        InvalidFile: naming the first weight that is not.
    """
    for name, value in weights.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.numel() * value.element_size() > max(value.untyped_storage().nbytes(), 1):
            raise InvalidFile(f"{path}: weight '{name}' is no plain tensor; save model.state_dict() of a network on the CPU")
        if (value.is_floating_point() or value.is_complex()) and not bool(value.isfinite().all()):
            raise InvalidFile(f"{path}: weight '{name}' has numbers that are NaN or infinite")
    return weights


def hash_weights(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of names, types, shapes and bytes, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].contiguous().cpu()
        state.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        state.update(value.view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
