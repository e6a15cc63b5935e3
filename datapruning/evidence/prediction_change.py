"""How far predictions move from epoch to epoch: needs whole probability vectors, and keeps those of one epoch alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softmax

from datapruning.errors import InvalidValue
from datapruning.io.memmap import create_memmap

EPSILON = 1e-8
"""Added to probabilities before their logarithm, as the released code of TDDS does."""


class PredictionChange:
    """The change of a sample's probabilities: sum_c |p_c log(p_c / q_c)|, q those of the epoch before (Zhang et al. 2024).

    Their logarithms are kept as float16 [N, classes] on disk, one file an epoch: the probabilities themselves, rounded so,
    would be 1 for every sample that is learned. Files are dropped as soon as no resume can ask for them: there are three
    at most, four after a checkpoint in the middle of an epoch.

    Args:
        folder: of these files alone.
        total: N.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.total = folder, total
        self._needed: set[int] | None = None
        self._flushed = -1
        self._before: NDArray[np.float16] | None = None
        self._now: np.memmap[Any, np.dtype[np.float16]] | None = None
        self._epoch = 0

    def start_epoch(self, epoch: int, *, inside: bool = False) -> None:
        """Start an epoch, perhaps again, or go on `inside` of it.

        Raises:
            InvalidValue: the probabilities of the epoch before are gone, so that nothing can be compared.
        """
        before = self._path(epoch - 1)
        if epoch > 0 and not before.exists():
            raise InvalidValue(
                f"epoch {epoch} cannot begin: the predictions of epoch {epoch - 1} are not there to compare with. Begin at "
                "epoch 0, and call saved(epoch) whenever a checkpoint of the training is on disk, so that they are kept"
            )
        self._epoch, self._now = epoch, None
        if self._needed is None:  # a resume in this process begins here at the earliest
            self._needed = {epoch - 1, epoch} if inside else {epoch - 1}
        for path in self.folder.glob("*.npy"):
            if int(path.stem) not in {*self._needed, epoch - 1}:
                path.unlink()
        self._before = np.load(before, mmap_mode="r", allow_pickle=False) if before.exists() else None
        if inside and self._path(epoch).exists():
            self._now = np.lib.format.open_memmap(self._path(epoch), "r+")

    def flush(self) -> None:
        """In the middle of an epoch: what a resume will ask for goes to the disk."""
        self.end_epoch()
        self._flushed = self._epoch

    def saved(self, epoch: int) -> None:
        """A resume begins after `epoch` at the earliest; in the middle of the next one, if that was flushed."""
        self._needed = {epoch, self._flushed} if self._flushed > epoch else {epoch}

    def update(self, logits: Tensor, ids: NDArray[np.int64]) -> Tensor:
        """The change of these samples since the epoch before, float32 [n]; 0 in the first epoch."""
        now = softmax(logits.float(), dim=1)
        logarithm = (now + EPSILON).log()
        if self._now is None:
            shape = (self.total, logits.shape[1])
            self._now = create_memmap(self._path(self._epoch), np.float16, shape)
        self._now[ids] = logarithm.to(torch.float16).cpu().numpy()
        if self._before is None:
            return torch.zeros(len(ids))
        before = torch.from_numpy(self._before[ids]).to(logits.device).float()
        return (now * (logarithm - before)).abs().sum(1)

    def end_epoch(self) -> None:
        """The epoch is over: what a resume will ask for goes to the disk."""
        if self._now is not None:
            self._now.flush()

    def remove(self) -> None:
        """The run is done: nobody asks for probabilities any more."""
        self._before = self._now = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{epoch}.npy"
