"""Generated files of weights, wrapped as training loops save them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.inputs.example import Example
from datapruning.runs.weight_names import fit_names
from datapruning.runs.weights_file import read_weights

WEIGHT_FAULTS = ("NaN", "cut file", "no tensors", "absent", "empty", "an object")


def make_weights(folder: Path, rng: random.Random) -> Example:
    """A file of weights, wrapped as training loops save it."""
    numbers = torch.Generator().manual_seed(rng.randrange(2**32))
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64)
    weights = {
        f"{rng.choice(('conv', 'head.fc', 'модель'))}{number}.{rng.choice(('weight', 'bias'))}": torch.randint(
            -9, 9, rng.choice(((2,), (3, 2), (1, 2, 3), ())), generator=numbers
        ).to(rng.choice(kinds))
        for number in range(rng.randint(1, 5))
    }
    expected = {name: tensor.clone() for name, tensor in weights.items()}
    fault = rng.choice(WEIGHT_FAULTS) if rng.random() < 1 / 3 else ""
    name = rng.choice(list(weights))
    if fault == "NaN":
        weights[name] = torch.full((2,), float("nan"))
    prefix = "".join(rng.sample(("module.", "_orig_mod.", "model.", "net."), rng.randint(0, 3)))
    wrapped = {prefix + key: tensor for key, tensor in rng.sample(list(weights.items()), len(weights))}
    if rng.random() < 0.2:
        wrapped[f"{prefix}{name.partition('.')[0]}.total_ops"] = torch.zeros(1, dtype=torch.float64)
    path = folder / f"net{rng.choice(('.safetensors', '.pth', '.pt', '.pth.tar', '.ckpt', '.th'))}"
    if path.suffix == ".safetensors":
        if fault in ("no tensors", "an object"):
            fault = "empty"
        save_file(wrapped, path)
    else:
        content: Any = {"no tensors": {"epoch": 3}, "an object": {**wrapped, "history": np.float64(1)}}.get(fault, wrapped)
        key = rng.choice((None, "state_dict", "model_state_dict", "model", "net"))
        if key is not None and not fault and rng.random() < 0.3:
            raw = {name: torch.zeros_like(tensor) for name, tensor in wrapped.items()}
            content = {key: raw, "state_dict_ema": wrapped}
        elif key is not None:
            content = {"epoch": 3, key: content}
        torch.save(content, path)
    if fault == "cut file":
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "absent":
        path.unlink()
    culprit = (path.name, *([name] if fault == "NaN" else [])) if fault else ()

    def open_weights() -> dict[str, Any]:
        return {"weights": fit_names(read_weights(path), expected, path)}

    return Example(f"weights{', ' + fault if fault else ''}", open_weights, {"weights": expected}, culprit)
