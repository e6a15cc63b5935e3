"""Checkpoints: one safetensors file with weights, optimiser state and progress, replaced whole every now and then."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from datapruning.errors import InvalidFile
from datapruning.io.atomic import remove_file
from datapruning.io.disk_space import remove_partial_files
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.training.optimizers import restore_state, state_tensors
from datapruning.training.state import TrainState
from datapruning.utils.records import parse_record

EXTRA_PREFIX = "extra."
SAVE_INTERVAL_SECONDS = 20.0
"""Shortest time between two saves."""
MAX_SAVE_TIME_FRACTION = 0.01
"""Largest share of the time that saves may take; slow saves are made less often."""


class Checkpoint:
    """A checkpoint file, and when it is due to be saved.

    Args:
        path: of the file.
        seconds: shortest time between two saves; 0 saves after every step. None: `SAVE_INTERVAL_SECONDS`.
    """

    def __init__(self, path: Path, seconds: float | None = None) -> None:
        self.path = path
        self.seconds = SAVE_INTERVAL_SECONDS if seconds is None else seconds
        self._min_interval = 0.0
        self._last_save = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return not self.seconds or time.monotonic() - self._last_save >= max(self.seconds, self._min_interval)

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: TrainState,
        extra: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write weights, the optimiser's state, the training's state and further tensors, whole or not at all."""
        started = time.monotonic()
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= state_tensors(model, optimizer)
        tensors |= {f"{EXTRA_PREFIX}{name}": value for name, value in (extra or {}).items()}
        save_tensors(self.path, tensors, {"state": json.dumps(state.to_json())})
        self._last_save = time.monotonic()
        self._min_interval = (self._last_save - started) / MAX_SAVE_TIME_FRACTION

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[TrainState, dict[str, Tensor]] | None:
        """Restore weights and optimiser in place; returns the state and further tensors, or None if there is no file.

        Raises:
            InvalidFile: broken, no checkpoint, or that of another network.
        """
        remove_partial_files(self.path)
        if not self.path.exists():
            return None
        tensors, metadata = load_tensors(self.path)
        state = _parse_state(metadata, self.path)
        load_weights(model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}, self.path)
        restore_state(model, optimizer, tensors)
        extra = {name.removeprefix(EXTRA_PREFIX): value for name, value in tensors.items() if name.startswith(EXTRA_PREFIX)}
        return state, extra

    def state(self) -> TrainState:
        """The state that was saved, without the tensors.

        Raises:
            InvalidFile: missing or broken.
        """
        return _parse_state(load_tensors(self.path)[1], self.path)

    def remove(self) -> None:
        """Delete the file."""
        remove_partial_files(self.path)
        remove_file(self.path)


def _parse_state(metadata: Mapping[str, str], path: Path) -> TrainState:
    try:
        value = json.loads(metadata.get("state", ""))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidFile(f"{path} is no checkpoint of a training; delete it to train from the beginning")
    return parse_record(TrainState, value, str(path))


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Copy `weights` into `model`.

    Raises:
        InvalidFile: naming the first weight that is missing, surplus or of another shape, and counting the others.
    """
    expected = model.state_dict()
    missing, surplus = [name for name in expected if name not in weights], [name for name in weights if name not in expected]
    if missing or surplus:
        counts = f"{len(missing)} missing, {len(surplus)} surplus"
        first = f"'{missing[0]}' is missing" if missing else f"'{surplus[0]}' is surplus"
        second = f", '{surplus[0]}' surplus" if missing and surplus else ""
        raise InvalidFile(f"{source} does not fit the model: weight {first}{second} ({counts})")
    for name, weight in expected.items():
        if weight.shape != weights[name].shape:
            raise InvalidFile(
                f"{source} does not fit the model: weight '{name}' is {list(weights[name].shape)}, "
                f"{list(weight.shape)} is needed"
            )
    model.load_state_dict(weights)
