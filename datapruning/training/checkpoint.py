"""Checkpoints: one safetensors file with weights, optimiser state and progress, replaced whole every now and then."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datapruning.errors import InvalidFile
from datapruning.io.disk_space import remove_partial_files
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.training.optimizers import restore_state, state_tensors

EXTRA_PREFIX = "extra."


SAVE_INTERVAL_SECONDS = 20.0
"""Least time between two saves."""


MAX_SAVE_TIME_FRACTION = 0.01
"""Of the time, at most, that saving takes: where a save is slow, there are fewer."""


class Checkpoint:
    """Says when it is time for a save, and saves.

    Args:
        path: the file.
        seconds: least time between two saves; 0 saves after every update. None: `SAVE_INTERVAL_SECONDS`.
    """

    def __init__(self, path: Path, seconds: float | None = None) -> None:
        self.path = path
        self.seconds = SAVE_INTERVAL_SECONDS if seconds is None else seconds
        self._slow = 0.0
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return not self.seconds or time.monotonic() - self._last >= max(self.seconds, self._slow)

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        extra: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write weights, the optimiser's state, `state` (plain data) and further tensors, whole or not at all."""
        started = time.monotonic()
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= state_tensors(model, optimizer)
        tensors |= {f"{EXTRA_PREFIX}{name}": value for name, value in (extra or {}).items()}
        save_tensors(self.path, tensors, {"state": json.dumps(state)})
        self._last = time.monotonic()
        self._slow = (self._last - started) / MAX_SAVE_TIME_FRACTION

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Restore weights and optimiser in place; returns state and further tensors, or None if nothing was saved.

        Raises:
            InvalidFile: broken, no checkpoint, or one of another network.
        """
        remove_partial_files(self.path)
        if not self.path.exists():
            return None
        tensors, metadata = load_tensors(self.path)
        state = _state_of(metadata, self.path)
        load_weights(model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}, self.path)
        restore_state(model, optimizer, tensors)
        extra = {name.removeprefix(EXTRA_PREFIX): value for name, value in tensors.items() if name.startswith(EXTRA_PREFIX)}
        return state, extra

    def state(self) -> dict[str, Any]:
        """The plain data of what was saved, without its tensors.

        Raises:
            InvalidFile: missing or broken.
        """
        return _state_of(load_tensors(self.path)[1], self.path)

    def remove(self) -> None:
        """Delete the file: the run is done."""
        remove_partial_files(self.path)
        self.path.unlink(missing_ok=True)


def _state_of(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        state = json.loads(metadata.get("state", ""))
    except ValueError:
        state = None
    if not isinstance(state, dict):
        raise InvalidFile(f"{path} is no checkpoint of a training; delete it to train from the beginning")
    return state


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Copy `weights` into `model`.

    Raises:
        InvalidFile: naming the first weight that is missing, surplus or of another shape, and counting the others.
    """
    own = model.state_dict()
    missing, surplus = [name for name in own if name not in weights], [name for name in weights if name not in own]
    if missing or surplus:
        counts = f"{len(missing)} missing, {len(surplus)} surplus"
        which = f"'{missing[0]}' is missing" if missing else f"'{surplus[0]}' is surplus"
        also = f", '{surplus[0]}' surplus" if missing and surplus else ""
        raise InvalidFile(f"{source} does not fit the model: weight {which}{also} ({counts})")
    for name in own:
        if own[name].shape != weights[name].shape:
            raise InvalidFile(
                f"{source} does not fit the model: weight '{name}' is {list(weights[name].shape)}, "
                f"{list(own[name].shape)} is needed"
            )
    model.load_state_dict(weights)
