"""The soft-label cache of our own training: a store of soft labels that a teacher fills through a loader and our views."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Loader
from datapruning.io.disk_space import is_writable
from datapruning.models.flops import evaluation_cost
from datapruning.teachers.load import Teacher
from datapruning.teachers.soft_label_store import MANIFEST, ROWS, Batches, SoftLabelManifest, SoftLabelStore, row_batches
from datapruning.training.evaluate import batch_logits
from datapruning.training.reproducibility import model_device
from datapruning.utils.cost import ComputeCost
from datapruning.utils.processes import agree


def device_settings(model: nn.Module) -> tuple[str, bool]:
    """`device` and `tf32` of the manifest of a teacher's soft labels."""
    device = model_device(model).type
    return device, device == "cuda" and torch.backends.cudnn.allow_tf32


class SoftLabelCache:
    """Soft labels of one teacher under one view policy, in its folder. Mixed views bind the cache to their subset.

    Where that folder cannot be written, or is not to be (`read_only`), labels are read from it, and those that it lacks are
    kept in a folder of the same name in `own`: the teacher of somebody else can be used as it is.

    Raises:
        IncompatibleInputs, InvalidFile, DiskFull: see `SoftLabelStore`.
    """

    def __init__(
        self,
        teacher: Teacher,
        views: Augmentation,
        fingerprint: str,
        total: int,
        classes: int,
        own: Path | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        self.teacher, self.views = teacher, views
        # keys without effect are at their defaults: they do not change the folder's name
        policy, mixing = AugmentPolicy.model_validate(views.policy.to_dict()), views.mixing
        device, tf32 = device_settings(teacher.model)
        manifest = SoftLabelManifest(
            fingerprint=fingerprint, teacher=teacher.weights_hash, views=policy, total=total, classes=classes,
            cutmix=mixing.cutmix if mixing and mixing.cutmix.enabled else None,
            mixup=mixing.mixup if mixing and mixing.mixup.enabled else None, subset=mixing.digest if mixing else None,
            device=device, tf32=tf32,
        )  # fmt: skip
        self.key = teacher.folder / "soft-labels" / manifest.hash
        self._own = None if own is None else own / manifest.hash
        self._read_only = read_only
        exists = agree((self.key / MANIFEST).exists())
        if self._own is not None and (agree((self._own / MANIFEST).exists()) or not (exists or self._may_write(self.key))):
            self.store = SoftLabelStore(self._own, manifest, SoftLabelStore(self.key, manifest) if exists else None)
        else:
            self.store = SoftLabelStore(self.key, manifest)

    def _may_write(self, folder: Path) -> bool:
        return not (self._read_only and folder == self.key) and agree(is_writable(folder))

    @property
    def folder(self) -> Path:
        """Where labels are added."""
        return self.store.folder

    def fill(self, loader: Loader, ids: NDArray[np.int64], epochs: range) -> int:
        """Compute the missing labels of `ids` in the views of these epochs. Returns their number."""

        def compute(missing_ids: NDArray[np.int64], view: int) -> Batches:
            batches = batch_logits(self.teacher.model, loader, row_batches(missing_ids, ROWS), self.views, epoch=view)
            return ((batch.ids, logits) for batch, logits in batches)

        views = sorted({self.views.view_index(epoch) for epoch in epochs})
        is_missing = agree(any(self.store.missing(ids, view).size for view in views))
        if is_missing and self._own not in (None, self.folder) and not self._may_write(self.folder):
            assert self._own is not None
            self.store = SoftLabelStore(self._own, self.store.manifest, self.store)
        return self.store.fill(ids, views, compute)

    def cost(self, count: int) -> ComputeCost:
        """The cost of computing so many labels; seconds at the mean rate so far."""
        stats = self.store.stats
        seconds = round(count * stats.seconds / max(stats.computed, 1), 3)
        return evaluation_cost(self.teacher.model, count, seconds)

    def __getitem__(self, key: tuple[NDArray[np.int64] | Tensor, int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [n, classes] of the view of that epoch.

        Raises:
            InvalidValue: a label that was not computed. InvalidFile: one that was changed since.
        """
        ids, epoch = key
        return self.store.read(ids.cpu().numpy() if isinstance(ids, Tensor) else ids, self.views.view_index(epoch))


class TeacherLabels:
    """Soft labels of one or more teachers together, for the student's loss."""

    def __init__(self, caches: Iterable[SoftLabelCache]) -> None:
        self.caches = tuple(caches)

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [teachers, n, classes]."""
        return torch.stack([cache[key] for cache in self.caches])
