"""Dynamic pruning: each epoch skips some of the samples that are easy by then, and the other easy ones count more.

InfoBatch (Qin et al. 2024, section 2): samples whose last loss is below the mean are easy; a share of them, drawn anew each
epoch, is skipped, and the losses of the easy ones that stay are scaled up, so that the expected gradient is that of all
samples. In the last epochs nothing is skipped.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.training.distributed.collectives import gather_rows
from datapruning.training.state import Checkpointed
from datapruning.utils.hashing import hash_ids

SKIP_KEY = 0x1F0BA7
IDS, LOSSES = "infobatch.ids", "infobatch.losses"
EPOCH_IDS, EPOCH_LOSSES = "infobatch.epoch-ids", "infobatch.epoch-losses"


def epoch_weights(
    ids: NDArray[np.int64], losses: NDArray[np.float32], share: float, seed: int, epoch: int
) -> NDArray[np.float32]:
    """The weight float32 [n] of each sample, ids int64 [n], in an epoch; 0: it is skipped.

    Of c easy samples floor(share * c) are skipped, so that of two samples or more at least two are left. The easy ones that
    are left have the weight c / (c - skipped), which is 1 / (1 - share) but for that rounding: each sample's expected
    weight is 1 exactly. Whether a sample is skipped depends on nothing but seed, epoch and which samples are easy. `losses`
    float32 [n] are the last ones; NaN: the sample was never trained on, and is not easy.
    """
    weights = np.ones(len(ids), np.float32)
    known = losses[~np.isnan(losses)]
    if not len(known):
        return weights
    easy = np.flatnonzero(losses < known.mean(dtype=np.float64))
    skipped = math.floor(share * len(easy))
    weights[easy] = len(easy) / max(len(easy) - skipped, 1)
    weights[easy[np.argsort(hash_ids(ids[easy], SKIP_KEY, seed, epoch), kind="stable")[:skipped]]] = 0
    return weights


class InfoBatch(Checkpointed):
    """The samples `ids` int64 [n] of a training, the last loss of each, and the weight of each in the current epoch.

    An epoch skips the fraction `share` of the easy samples, as long as less than the fraction `until` of the run is done.
    """

    per_process = True

    def __init__(self, ids: NDArray[np.int64], share: float, until: float, seed: int) -> None:
        self.share, self.until, self.seed = share, until, seed
        self.ids = np.sort(ids)
        self.losses = np.full(len(ids), np.nan, np.float32)
        self._weights = np.ones(len(ids), np.float32)
        self._recorded: list[tuple[NDArray[np.int64], Tensor]] = []

    def begin_epoch(self, epoch: int, position: float) -> NDArray[np.int64] | None:
        """The ids int64 of this epoch, after the share `position` of the run; None where nothing is skipped any more."""
        if position >= self.until:
            return None
        self._weights = epoch_weights(self.ids, self.losses, self.share, self.seed, epoch)
        return self.ids[self._weights > 0]

    def weights(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The weights float32 [n] of samples of this epoch, by ids int64 [n]."""
        return self._weights[np.searchsorted(self.ids, ids)]

    def record_losses(self, ids: NDArray[np.int64], losses: Tensor) -> None:
        """Record losses [n] of a batch; they stay on their device until the epoch ends, so that nothing waits for them."""
        self._recorded.append((np.searchsorted(self.ids, ids), losses.detach()))

    def end_epoch(self) -> None:
        """The epoch's losses, those of other processes too, become the last ones."""
        if self._recorded:
            indices, losses = gather_rows(*self._epoch_losses())
            self.losses[indices] = losses.cpu().numpy()
            self._recorded = []

    def _epoch_losses(self) -> tuple[NDArray[np.int64], Tensor]:
        """(indices int64 [n] into the sorted ids, losses float32 [n]) of this epoch so far."""
        device = self._recorded[-1][1].device  # those of before a resume are on the CPU
        indices = np.concatenate([indices for indices, _ in self._recorded])
        return indices, torch.cat([losses.to(device) for _, losses in self._recorded]).float()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: ids int64 [n] and losses float32 [n], apart, so that no id goes through a float.

        In the middle of an epoch also the losses recorded so far, and the ids of their samples.
        """
        tensors = {IDS: torch.from_numpy(self.ids), LOSSES: torch.from_numpy(self.losses)}
        if self._recorded:
            indices, losses = self._epoch_losses()
            tensors |= {EPOCH_IDS: torch.from_numpy(self.ids[indices]), EPOCH_LOSSES: losses}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint. Samples that it lacks count as never seen: a part of a run may train on fewer."""
        known, losses = tensors[IDS].numpy(), tensors[LOSSES].numpy()
        _, indices, saved_indices = np.intersect1d(self.ids, known, assume_unique=True, return_indices=True)
        self.losses[indices] = losses[saved_indices]
        if EPOCH_IDS in tensors:
            self._recorded = [(np.searchsorted(self.ids, tensors[EPOCH_IDS].numpy()), tensors[EPOCH_LOSSES])]
