"""Early checkpoints: the weights of some epochs are written to files while a network is trained."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from datapruning.io.disk_space import remove_partial_files
from datapruning.io.tensors import save_tensors
from datapruning.training.callbacks import Callback

PREFIX, STEPS = "early-average.", "early-steps"


class KeepCheckpoints(Callback):
    """Writes the average of the weights over the second half of an epoch's steps, after each of these epochs.

    In the middle of a schedule the learning rate is high, and the weights of a single step are noisy: they move about a
    good network, which their average is nearer to (stochastic weight averaging, Izmailov et al. 2018). The first half is
    left out because an average that reaches back to the initial weights is no network. Running statistics of batch norms
    are averaged likewise; whole numbers are those of the last step. Training itself is not affected.

    Args:
        epochs: counted from 1.
        steps_per_epoch: optimiser steps of an epoch.
        path: of the file of an epoch.
    """

    def __init__(self, epochs: Collection[int], steps_per_epoch: int, path: Callable[[int], Path]) -> None:
        self._epochs, self._first, self._path = epochs, steps_per_epoch // 2, path
        self._averages: dict[str, Tensor] = {}
        self._steps = 0

    @torch.no_grad()
    def on_step_end(self, epoch: int, model: nn.Module) -> None:
        """Take the weights into the average."""
        if epoch + 1 not in self._epochs:
            return
        self._steps += 1
        num_averaged = self._steps - self._first
        for name, weight in model.state_dict().items() if num_averaged > 0 else ():
            if num_averaged > 1 and weight.is_floating_point():
                self._averages[name] = self._averages[name].to(weight.device).lerp_(weight, 1 / num_averaged)
            else:
                self._averages[name] = weight.clone()

    def on_epoch_start(self, epoch: int) -> None:
        """Begin a new average."""
        self._averages, self._steps = {}, 0

    def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
        """Write the average."""
        if self._averages:
            path = self._path(epoch + 1)
            remove_partial_files(path)  # of a process that was killed while it wrote
            save_tensors(path, self._averages)
        self._averages, self._steps = {}, 0

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint within an epoch holds: the average so far, and the steps made."""
        averages = {PREFIX + name: value for name, value in self._averages.items()}
        return {STEPS: torch.tensor(self._steps), **averages} if self._steps else {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what a checkpoint holds."""
        self._steps = int(tensors[STEPS]) if STEPS in tensors else 0
        self._averages = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
