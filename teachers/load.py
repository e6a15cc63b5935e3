"""Loading a teacher from a run folder, checked against the dataset it is to teach."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datapruning.data.dataset import Dataset
from datapruning.errors import BadFile, Mismatch
from datapruning.models import create_model
from datapruning.models.renormalised import as_trained
from datapruning.runs import MODEL, Run
from datapruning.training.checkpoint import load_tensors, load_weights


@dataclass(frozen=True)
class Teacher:
    """A network in evaluation mode, the folder it came from, the hash of its weights, and its run's result."""

    model: nn.Module
    folder: Path
    weights_hash: str
    result: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        """What a student's result.json says about it."""
        return {
            "folder": str(self.folder),
            "model": self.result["model"],
            "test_accuracy": self.result["test_accuracy"],
            "weights": self.weights_hash,
        }


def load_teacher(folder: str | Path, data: Dataset, device: torch.device) -> Teacher:
    """Load a finished run as a teacher for `data`.

    Raises:
        BadFile: no finished run there, or its weights are broken.
        Mismatch: it was trained on another dataset.
    """
    folder = Path(folder)
    if folder.is_file():
        raise BadFile(f"teacher {folder} is neither a run folder nor a file of weights (.safetensors, .pth, .pt)")
    if not folder.is_dir():
        raise BadFile(f"teacher {folder} is not there; 'dprune teach' makes one")
    run = Run(folder)
    result = run.result()
    if result is None:
        raise BadFile(f"{folder} is no finished run: it has no result.json")
    for key in ("model", "classes", "fingerprint", "test_accuracy"):
        if key not in result:
            raise BadFile(f"{folder}/result.json does not say '{key}'; it is no run that can teach")
    if result["classes"] != data.classes:
        raise Mismatch(f"teacher {folder} knows {result['classes']} classes, {data.name} has {data.classes}")
    if result["fingerprint"] != data.fingerprint:
        raise Mismatch(f"teacher {folder} was trained on another dataset ({result.get('dataset')}), not on {data.name}")
    weights, _ = load_tensors(folder / MODEL)
    model = create_model(result["model"], data.train.shape, data.classes, seed=0)
    load_weights(model, weights, folder / MODEL)
    named = hash_weights(weights)
    if result.get("input"):
        named = hashlib.sha256(f"{named}{result['input']}".encode()).hexdigest()
    return Teacher(as_trained(model, result, data.channel_stats).to(device).eval(), folder, named, result)


def hash_weights(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of names, types, shapes and bytes, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].contiguous().cpu()
        state.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        state.update(value.view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
