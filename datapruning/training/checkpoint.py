"""Checkpoints: one safetensors file with weights, optimiser state and progress, replaced whole at the end of an epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from datapruning.errors import BadFile
from datapruning.files import written_whole
from datapruning.training.optimizers import restore_state, state_tensors

EXTRA = "extra."


class Checkpoint:
    """Saves at most every `seconds`, so that short epochs do not spend their time writing.

    Args:
        path: the file.
        seconds: least time between two saves; 0 saves after every epoch.
    """

    def __init__(self, path: Path, seconds: float = 20.0) -> None:
        self.path = path
        self.seconds = seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self.seconds

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        extra: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write weights, the optimiser's state, `state` (plain data) and further tensors, whole or not at all."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= state_tensors(model, optimizer)
        tensors |= {f"{EXTRA}{name}": value for name, value in (extra or {}).items()}
        save_tensors(self.path, tensors, {"state": json.dumps(state)})
        self._last = time.monotonic()

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Restore weights and optimiser in place; returns state and further tensors, or None if nothing was saved."""
        if not self.path.exists():
            return None
        tensors, metadata = load_tensors(self.path)
        load_weights(model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}, self.path)
        restore_state(model, optimizer, tensors)
        extra = {name.removeprefix(EXTRA): value for name, value in tensors.items() if name.startswith(EXTRA)}
        return dict(json.loads(metadata["state"])), extra

    def state(self) -> dict[str, Any]:
        """The plain data of what was saved, without its tensors.

        Raises:
            BadFile: missing or broken.
        """
        return dict(json.loads(load_tensors(self.path)[1]["state"]))

    def remove(self) -> None:
        """Delete the file: the run is done."""
        self.path.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    with written_whole(path) as temporary:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary, metadata)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file.

    Raises:
        BadFile: missing or broken.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise BadFile(f"{path} is not there") from None
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{path} is no whole safetensors file: {error}") from None


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Copy `weights` into `model`.

    Raises:
        BadFile: naming the first weight that is missing, surplus or of another shape, and counting the others.
    """
    own = model.state_dict()
    missing, surplus = [name for name in own if name not in weights], [name for name in weights if name not in own]
    if missing or surplus:
        counts = f"{len(missing)} missing, {len(surplus)} surplus"
        which = f"'{missing[0]}' is missing" if missing else f"'{surplus[0]}' is surplus"
        also = f", '{surplus[0]}' surplus" if missing and surplus else ""
        raise BadFile(f"{source} does not fit the model: weight {which}{also} ({counts})")
    for name in own:
        if own[name].shape != weights[name].shape:
            raise BadFile(
                f"{source} does not fit the model: weight '{name}' is {list(weights[name].shape)}, "
                f"{list(own[name].shape)} is needed"
            )
    model.load_state_dict(weights)
