"""The change of predictions from epoch to epoch, for which the probabilities of the epoch before are kept on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softmax

from datapruning.errors import InvalidValue
from datapruning.io.atomic import remove_folder
from datapruning.io.memmap import create_memmap
from datapruning.utils.processes import main_only
from datapruning.utils.upload import upload

EPSILON = 1e-8
"""Added to probabilities before their logarithm, as the released code of TDDS does."""


class PredictionChange:
    """The change of a sample's probabilities: sum_c |p_c log(p_c / q_c)|, q in the epoch before (Zhang et al. 2024).

    Their logarithms are kept as float16 [N, classes] on disk, one file an epoch in a folder of their own: the probabilities
    themselves, rounded so, would be 1 for every sample that is learned. Files are removed as soon as no resume can need
    them: there are at most three, or four after a checkpoint in the middle of an epoch.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.total = folder, total
        self._needed: set[int] | None = None
        self._flushed = -1
        self._previous: NDArray[np.float16] | None = None
        self._current: np.memmap[Any, np.dtype[np.float16]] | None = None
        self._epoch = 0

    def start_epoch(self, epoch: int, *, inside: bool = False) -> None:
        """Start an epoch, perhaps again, or resume in the middle of it (`inside`).

        Raises:
            InvalidValue: the probabilities of the epoch before are missing.
        """
        previous_path = self._path(epoch - 1)
        if epoch > 0 and not previous_path.exists():
            raise InvalidValue(
                f"epoch {epoch} cannot begin: the predictions of epoch {epoch - 1} are missing. Begin at "
                "epoch 0, and call saved(epoch) whenever a checkpoint of the training is on disk, so that they are kept"
            )
        self._epoch, self._current = epoch, None
        if self._needed is None:  # a resume in this process begins here at the earliest
            self._needed = {epoch - 1, epoch} if inside else {epoch - 1}
        self._remove_all_but({*self._needed, epoch - 1})
        self._previous = np.load(previous_path, mmap_mode="r", allow_pickle=False) if previous_path.exists() else None
        if inside and self._path(epoch).exists():
            self._current = np.lib.format.open_memmap(self._path(epoch), "r+")

    def flush(self) -> None:
        """Write to disk what a resume in the middle of this epoch needs."""
        self.end_epoch()
        self._flushed = self._epoch

    def saved(self, epoch: int) -> None:
        """Note a checkpoint after `epoch`: a resume begins there, or in the middle of the next epoch if that was flushed."""
        self._needed = {epoch, self._flushed} if self._flushed > epoch else {epoch}

    def open_epoch(self, num_classes: int) -> None:
        """Make the file of the epoch, before the first `update`; process 0 makes it, and each one writes its own samples."""
        if self._current is None:
            self._current = create_memmap(self._path(self._epoch), np.float16, (self.total, num_classes))

    def update(self, logits: Tensor, ids: NDArray[np.int64]) -> Tensor:
        """The change of these samples since the epoch before, float32 [n]; 0 in the first epoch."""
        change, log_probs = self.compute(logits, ids)
        self.store(ids, log_probs)
        return change

    def compute(self, logits: Tensor, ids: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(change float32 [n], logarithms float16 [n, classes] for `store`), on the device of the logits."""
        probs = softmax(logits.float(), dim=1)
        log_probs = (probs + EPSILON).log()
        if self._previous is None:
            return torch.zeros(len(ids)), log_probs.to(torch.float16)
        previous = upload(self._previous[ids], logits.device).float()
        return (probs * (log_probs - previous)).abs().sum(1), log_probs.to(torch.float16)

    def store(self, ids: NDArray[np.int64], log_probs: Tensor) -> None:
        """Keep the logarithms of these samples, float16 [n, classes], for the next epoch."""
        self.open_epoch(log_probs.shape[1])
        assert self._current is not None
        self._current[ids] = log_probs.cpu().numpy()

    def end_epoch(self) -> None:
        """End the epoch: write to disk what a resume needs."""
        if self._current is not None:
            self._current.flush()

    def remove(self) -> None:
        """Remove all files at the end of the run."""
        self._previous = self._current = None
        remove_folder(self.folder)

    @main_only
    def _remove_all_but(self, epochs: set[int]) -> None:
        for path in self.folder.glob("*.npy"):
            if int(path.stem) not in epochs:
                path.unlink()

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{epoch}.npy"
