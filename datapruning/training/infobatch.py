"""Dynamic pruning: each epoch skips some of the samples that are easy by now, and others like them count for them.

InfoBatch (Qin et al. 2024, section 2): samples whose last loss is below the mean are easy; a share of them, drawn anew each
epoch, is skipped, and the losses of the easy ones that stay are scaled up, so that the expected gradient is that of all
samples. In the last epochs nothing is skipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.config.training import TrainConfig
from datapruning.utils.hashing import hash_ids

SKIP_KEY = 0x1F0BA7
IDS, LOSSES = "infobatch.ids", "infobatch.losses"
EPOCH_IDS, EPOCH_LOSSES = "infobatch.epoch-ids", "infobatch.epoch-losses"


def epoch_weights(
    ids: NDArray[np.int64], losses: NDArray[np.float32], share: float, seed: int, epoch: int
) -> NDArray[np.float32]:
    """What each sample counts in an epoch; 0: it is skipped.

    Of c easy samples floor(share * c) are skipped, so that with two samples or more there are always two left. Those that
    stay have the weight c / (c - skipped), which is 1 / (1 - share) but for that rounding: each sample's expected weight is
    1 exactly. A sample's lot depends on seed, epoch and on which samples are easy, on nothing else.

    Args:
        ids: int64 [n].
        losses: float32 [n], the last of each sample; NaN: it was never seen, and is not easy.
        share: of the easy samples, 0 <= share < 1.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        float32 [n].
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


class InfoBatch:
    """The samples of a training, the last loss of each, and what each counts in the epoch at hand.

    Args:
        ids: int64 [n], the samples to train on.
        share: of the easy samples that an epoch skips.
        until: share of the run after which nothing is skipped.
        seed: of the draws.
    """

    def __init__(self, ids: NDArray[np.int64], share: float, until: float, seed: int) -> None:
        self.share, self.until, self.seed = share, until, seed
        self.ids = np.sort(ids)
        self.losses = np.full(len(ids), np.nan, np.float32)
        self._weights = np.ones(len(ids), np.float32)
        self._recorded: list[tuple[NDArray[np.int64], Tensor]] = []

    @classmethod
    def create(cls, training: TrainConfig, ids: NDArray[np.int64], seed: int) -> InfoBatch | None:
        """As the settings say; None where they prune nothing."""
        return cls(ids, training.infobatch, training.infobatch_until, seed) if training.infobatch else None

    def begin_epoch(self, epoch: int, position: float) -> NDArray[np.int64] | None:
        """The ids int64 of this epoch, or None from where epochs are whole again, and losses matter no more.

        Args:
            epoch: counted from 0.
            position: share of the run that is done.
        """
        if position >= self.until:
            return None
        self._weights = epoch_weights(self.ids, self.losses, self.share, self.seed, epoch)
        return self.ids[self._weights > 0]

    def weights(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """What samples of this epoch count, float32 [n] for ids int64 [n]."""
        return self._weights[np.searchsorted(self.ids, ids)]

    def record_losses(self, ids: NDArray[np.int64], losses: Tensor) -> None:
        """Note losses [n] of a batch; they stay on their device until the epoch ends, so that nothing waits for them."""
        self._recorded.append((np.searchsorted(self.ids, ids), losses.detach()))

    def end_epoch(self) -> None:
        """The epoch's losses become the last ones."""
        if self._recorded:
            places, losses = self._epoch_losses()
            self.losses[places] = losses.cpu().numpy()
            self._recorded = []

    def _epoch_losses(self) -> tuple[NDArray[np.int64], Tensor]:
        """(places int64 [n] in the sorted ids, losses float32 [n]) of this epoch so far."""
        device = self._recorded[-1][1].device  # those of before a resume lie on the host
        places = np.concatenate([place for place, _ in self._recorded])
        return places, torch.cat([losses.to(device) for _, losses in self._recorded]).float()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: ids int64 [n] and losses float32 [n], apart, so that no id goes through a float.

        In the middle of an epoch also the losses that it has met so far, and which samples' they are.
        """
        found = {IDS: torch.from_numpy(self.ids), LOSSES: torch.from_numpy(self.losses)}
        if self._recorded:
            places, losses = self._epoch_losses()
            found |= {EPOCH_IDS: torch.from_numpy(self.ids[places]), EPOCH_LOSSES: losses}
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from there. Samples that are not in it are as if never seen: a part of a run may train on fewer."""
        known, losses = tensors[IDS].numpy(), tensors[LOSSES].numpy()
        _, here, there = np.intersect1d(self.ids, known, assume_unique=True, return_indices=True)
        self.losses[here] = losses[there]
        if EPOCH_IDS in tensors:
            self._recorded = [(np.searchsorted(self.ids, tensors[EPOCH_IDS].numpy()), tensors[EPOCH_LOSSES])]
