"""`dp.soft_labels`: the soft labels of any teacher for any dataset, for a training loop outside this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.augment.replay import AugmentedDataset, MapDataset, ReplayedDataset, ViewDataset
from datapruning.data.augment.replay_check import check_replay, hash_images
from datapruning.errors import IncompatibleInputs, InvalidValue
from datapruning.models.weights import hash_weights
from datapruning.runs.context import WORKSPACE
from datapruning.teachers.label_filler import LabelFiller
from datapruning.teachers.soft_label_store import ReplayedViews, SoftLabelManifest, SoftLabelStore
from datapruning.teachers.top_k import MAX_CLASSES
from datapruning.tools.trained_model import load_model
from datapruning.utils.console import info

SAMPLE_SIZE = 8
"""Images that are read twice, and whose labels are compared with those that are stored."""
TOLERANCE = 0.02
"""Largest difference of stored logits from fresh ones, relative to the largest logit."""


def soft_labels(
    teacher: nn.Module | str | Path,
    dataset: MapDataset,
    ids: ArrayLike | None = None,
    *,
    num_views: int = 16,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    top_k: int | None = None,
    temperature: float = 4.0,
    image_key: int | str = 0,
    batch_size: int = 64,
    num_workers: int = 0,
    workspace: str | Path = WORKSPACE,
) -> SoftLabels:
    """The logits of a teacher for `ids` of a dataset, in `num_views` augmented views that the student then sees, too.

        labels = dp.soft_labels(teacher, train_set, subset.indices, num_views=8)
        train = labels.dataset()
        loader = DataLoader(train, batch_size=64, shuffle=True)
        criterion = dp.KDLoss(weight=0.9)
        for epoch in range(40):
            train.set_epoch(epoch)
            for images, targets, ids, teacher_logits in loader:
                loss = criterion(student(images), targets, teacher_logits).total
                ...

    Labels that were computed before, by any process, are used again; a call that was killed goes on when it is given again.

    Args:
        teacher: a network that takes a batch of the dataset's images and returns logits [n, classes] (or an object with
            such `logits`), on its device; or the folder of a run, or its `model.safetensors`.
        dataset: a map-style torch dataset with the student's augmentation. The random seed of each (view, id) replays it.
        ids: positions in the dataset, int [n]; None: all.
        num_views: V; epoch e sees view e mod V. More views than epochs are wasted.
        augmentation: ours, such as `dp.open_context(data).views`: the dataset's images are then uint8 [height, width,
            channels]. Its `num_views` and `seed` are replaced. None: the dataset's own.
        seed: of the views.
        top_k: how many logits of each label are stored (docs/files.md); None: all.
        temperature: of the KD loss that uses top-k labels: at this one it is exact for the kept classes.
        image_key: where an item has its image: a position in a tuple, or a key of a dictionary.
        batch_size: of the teacher's batches; another size is other soft labels, which may differ in their last bits.
        num_workers: processes that read the dataset.
        workspace: the labels are in its folder `soft-labels`.

    Raises:
        InvalidValue: augmentation that cannot be replayed, ids outside the dataset, logits that are NaN.
        IncompatibleInputs: the teacher does not fit the dataset, or the stored labels do not fit either.
        InvalidFile: no such run; stored labels that are broken. DiskFull: the disk is full.
    """
    for name, number, lowest in (
        ("num_views", num_views, 1),
        ("batch_size", batch_size, 1),
        ("num_workers", num_workers, 0),
    ):
        if number < lowest:
            raise InvalidValue(f"{name} is at least {lowest}; got {number}", parameter=name)
    if not 0 < temperature < float("inf"):
        raise InvalidValue(f"the temperature is a number above 0; got {temperature}", parameter="temperature")
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or not len(dataset):
        raise IncompatibleInputs("the dataset has no samples by number: a map-style dataset with len() and [id] is needed")
    if augmentation is not None and augmentation.mixing is not None:
        raise InvalidValue("CutMix and mixup are not replayed: pass views without mixing", parameter="augmentation")
    sample_ids = _check_ids(ids, len(dataset))
    network = teacher if isinstance(teacher, nn.Module) else load_model(teacher)
    views: ViewDataset
    if augmentation is None:
        views = ReplayedDataset(dataset, image_key, seed)
    else:
        policy = augmentation.policy.replace(num_views=num_views, seed=seed)
        views = AugmentedDataset(dataset, image_key, replace(augmentation, policy=policy))
    filler = LabelFiller(network, views, batch_size, num_workers)
    positions = np.unique(np.linspace(0, len(dataset) - 1, SAMPLE_SIZE).astype(np.int64)).tolist()
    sample = [(position, number % num_views) for number, position in enumerate(positions)]
    images = check_replay(views, dataset, sample, partial(filler.read_images, num_workers=1) if num_workers else None)
    logits = filler.compute_logits(images)
    _check_classes(dataset, views, positions, logits.shape[1])
    if num_views > 1 and augmentation is None and _is_same_in_two_views(views, sample[0][0]):
        info("soft labels: the dataset's images are not augmented: num_views=1 gives the same labels in less time")
    if top_k is not None and not 0 < top_k < min(logits.shape[1], MAX_CLASSES):
        raise InvalidValue(f"top_k is a number of the {logits.shape[1]} classes, or None for all; got {top_k}")
    manifest = SoftLabelManifest(
        fingerprint=f"of a sample: {hash_images(images)}", teacher=hash_weights(_tensors_of(network)),
        views=ReplayedViews(num_views=num_views, seed=seed) if augmentation is None else policy,
        rows=batch_size, total=len(dataset), classes=logits.shape[1], top_k=top_k,
        temperature=None if top_k is None else temperature,
        device=filler.device.type, tf32=filler.device.type == "cuda" and torch.backends.cudnn.allow_tf32,
    )  # fmt: skip
    store = SoftLabelStore(Path(workspace) / "soft-labels" / manifest.hash, manifest)
    _check_stored(store, filler, sample_ids)
    if not store.fill(sample_ids, range(num_views), filler.compute):
        info(f"soft labels: used those in {store.folder}")
    return SoftLabels(store, views, sample_ids)


class SoftLabels:
    """Soft labels of a dataset's samples; see `soft_labels`. `labels[ids, epoch]`: logits float32 [n, classes]."""

    def __init__(self, store: SoftLabelStore, views: ViewDataset, ids: NDArray[np.int64]) -> None:
        self._store, self._views, self.ids = store, views, ids

    @property
    def folder(self) -> Path:
        """The folder of the labels; docs/files.md describes its files."""
        return self._store.folder

    @property
    def num_views(self) -> int:
        """V: epoch e sees view e mod V."""
        return self._store.num_views

    @property
    def num_classes(self) -> int:
        """The number of the teacher's logits."""
        return self._store.manifest.classes

    def __getitem__(self, key: tuple[NDArray[np.int64] | Tensor, int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [n, classes] of the view of that epoch.

        Raises:
            InvalidValue: ids without a label. InvalidFile: a label was changed since it was written.
        """
        ids, epoch = key
        sample_ids = _check_ids(ids.cpu().numpy() if isinstance(ids, Tensor) else ids, self._store.manifest.total)
        return self._store.read(sample_ids, epoch % self.num_views)

    def dataset(self, ids: ArrayLike | None = None) -> SoftLabelDataset:
        """The torch dataset of these ids (None: all that have labels), in their order.

        Raises:
            InvalidValue: ids without a label.
        """
        sample_ids = self.ids if ids is None else _check_ids(ids, self._store.manifest.total)
        for view in range(self.num_views):
            missing = self._store.missing(sample_ids, view)
            if missing.size:
                raise InvalidValue(
                    f"{missing.size:,} of {len(sample_ids):,} ids have no soft label, the first is {missing[0]}: "
                    "pass all ids to soft_labels(...)"
                )
        return SoftLabelDataset(self._store, self._views, sample_ids)


class SoftLabelDataset(Dataset[Any]):
    """Items of a dataset, augmented as the teacher saw them, with sample id and the teacher's logits float32 [classes].

    A tuple (image, label) becomes (image, label, id, logits); a dictionary gets the keys `sample_id` and `teacher_logits`.
    Call `set_epoch` before each epoch, as for a `DistributedSampler`; workers of a DataLoader that lives on see it, too.
    """

    def __init__(self, store: SoftLabelStore, views: ViewDataset, ids: NDArray[np.int64]) -> None:
        self._store, self._views, self.ids = store, views, ids
        self._epoch: Tensor = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the view: epoch e sees view e mod V."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """The items of a batch, which a DataLoader asks for at once."""
        ids, view = self.ids[indices], int(self._epoch) % self._store.num_views
        items, logits = self._views.items(ids.tolist(), view), self._store.read(ids, view)
        return [_extended(*parts) for parts in zip(items, ids.tolist(), logits, strict=True)]


def _extended(item: Any, sample_id: int, logits: Tensor) -> Any:
    """The item with its sample id and its logits."""
    if isinstance(item, Mapping):
        return {**item, "sample_id": sample_id, "teacher_logits": logits}
    return (*(item if isinstance(item, tuple | list) else (item,)), sample_id, logits)


def _check_ids(ids: ArrayLike | None, total: int) -> NDArray[np.int64]:
    if ids is None:
        return np.arange(total)
    array = np.asarray(ids)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or not array.size:
        raise InvalidValue(f"ids are positions in the dataset, whole numbers [n]; got {array.dtype} {list(array.shape)}")
    outside = array[(array < 0) | (array >= total)]
    if outside.size:
        raise InvalidValue(f"sample id {outside[0]} is not in the dataset, which has 0..{total - 1}")
    return array.astype(np.int64)


def _check_classes(dataset: MapDataset, views: ViewDataset, ids: Sequence[int], num_logits: int) -> None:
    """Refuse a teacher of other classes than the dataset's, as far as the dataset says what it has."""
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and len(names) != num_logits:
        raise IncompatibleInputs(f"the teacher gives {num_logits} logits, and the dataset has {len(names)} classes")
    for item in views.items(ids, 0):
        label = item[1] if isinstance(item, tuple | list) and len(item) > 1 else None
        if isinstance(label, int | np.integer) and not 0 <= label < num_logits:
            raise IncompatibleInputs(f"the teacher gives {num_logits} logits, and the dataset has a label {label}")


def _is_same_in_two_views(views: ViewDataset, sample_id: int) -> bool:
    first, second = (views.image(*views.items([sample_id], view)) for view in (0, 1))
    return torch.equal(first, second)


def _check_stored(store: SoftLabelStore, filler: LabelFiller, ids: NDArray[np.int64]) -> None:
    """Refuse stored labels that are not those of this teacher and dataset, as a few of them tell."""
    done = np.setdiff1d(ids, store.missing(ids, 0))[:SAMPLE_SIZE]
    if not done.size:
        return
    images = filler.read_images([(int(sample_id), 0) for sample_id in done])
    fresh = store.compress(filler.compute_logits(images)).values.astype(np.float32)
    difference = np.abs(fresh - store.stored(done, 0).values).max(1)
    wrong = done[difference > TOLERANCE * np.abs(fresh).max()]
    if wrong.size:
        raise IncompatibleInputs(
            f"{store.folder} has other logits of sample id {wrong[0]} in view 0 than the teacher gives now: the code of the "
            "teacher or the dataset was changed; delete the folder"
        )


def _tensors_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
