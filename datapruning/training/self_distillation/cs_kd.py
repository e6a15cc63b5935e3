"""CS-KD: a sample's prediction is pulled to that for another sample of its class (Yun et al., CVPR 2020, section 2.2)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.training.losses import Loss, LossTerms, kd_loss
from datapruning.training.self_distillation.base import AuxiliaryBatch, AuxiliaryRequest, Forward, SelfDistillation
from datapruning.utils.hashing import bounded_ints, hash_ids

PAIR_KEY = 0x9A185
MAX_SHOWN_CLASSES = 8


class ClassPairs:
    """The kept samples by class: each has another one as its partner, a new one in every epoch.

    `kept` are ids int64, each once; `labels` int64 [N] those of all samples by id. With `allow_singletons`, the single kept
    sample of a class is its own partner.

    Raises:
        InvalidValue: a class has a single kept sample, so that it has no partner.
    """

    def __init__(self, kept: NDArray[np.int64], labels: NDArray[np.int64], *, allow_singletons: bool = False) -> None:
        self._labels = labels
        by_id = np.sort(kept)
        self._kept = by_id[np.argsort(labels[by_id], kind="stable")]  # by class, and by id within one
        self._counts = np.bincount(labels[by_id])
        self._first = np.cumsum(self._counts) - self._counts
        singletons = np.flatnonzero(self._counts == 1)
        if singletons.size and not allow_singletons:
            more = ", ..." if singletons.size > MAX_SHOWN_CLASSES else ""
            names = ", ".join(map(str, singletons[:MAX_SHOWN_CLASSES])) + more
            raise InvalidValue(
                f"pairs within a class need two kept samples or more, but {singletons.size} of the classes "
                f"{'has' if singletons.size == 1 else 'have'} a single one (class {names}): keep more, "
                "or the same share of each class",
                parameter="balance",
            )

    def draw(self, ids: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """Partners int64 [n] of the kept samples `ids` [n]: a pure function of (id, seed, epoch) and the set of kept ids.

        Each is uniform over the other kept samples of the class.
        """
        classes = self._labels[ids]
        first, count = self._first[classes], self._counts[classes]
        positions = np.empty(len(ids), np.int64)  # of the samples within their classes
        for label in np.unique(classes):
            in_class = classes == label
            members = self._kept[self._first[label] : self._first[label] + self._counts[label]]
            positions[in_class] = np.searchsorted(members, ids[in_class])
        drawn = bounded_ints(hash_ids(ids, PAIR_KEY, seed, epoch), np.maximum(count - 1, 1))
        offset = np.where(count == 1, 0, drawn + (drawn >= positions))  # a sample is not its own partner
        partners: NDArray[np.int64] = self._kept[first + offset]
        return partners


class CSKD(SelfDistillation):
    """task loss + weight * T^2 * KL(partner_T || sample_T), the partner's logits being constant.

    As in the authors' code the partners have a forward pass of their own, after the batch and in training mode, so that
    batch norm counts them.
    """

    def __init__(self, pairs: ClassPairs, weight: float, temperature: float, seed: int) -> None:
        self.pairs, self.weight, self.temperature, self.seed = pairs, weight, temperature, seed

    def auxiliary_batches(self, batches: Sequence[NDArray[np.int64]], epoch: int) -> list[AuxiliaryRequest | None]:
        """A partner for each sample, in the same epoch's view."""
        return [(self.pairs.draw(ids, self.seed, epoch), epoch) for ids in batches]

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """See `SelfDistillation.step`."""
        assert auxiliary is not None
        logits = forward(images)
        with torch.no_grad():
            partners = forward(auxiliary.images)
        task = loss(logits, batch, epoch)
        term = kd_loss(logits, partners[None], self.temperature)
        return logits, task._replace(total=task.total + self.weight * term, self_distillation=term)
