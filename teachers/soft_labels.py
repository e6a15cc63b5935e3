"""The soft-label cache: a teacher's logits by view and sample id, float16 on disk, computed when a student first needs them.

Which student needs them first makes no difference. A network's output for a sample can differ in its last bits with the
shape of the batch and with the sample's row in it (ragged batches flipped 3-30% of float16 labels in a trial), so every
batch has the same number of rows, and a sample is always in row (id mod rows). Only the requested ids are computed; rows
without one are padded.
"""

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.disk_space import format_bytes, report_disk_full
from datapruning.io.json import read_json, write_json
from datapruning.io.locks import exclusive_lock
from datapruning.io.memmap import create_memmap, open_checked_memmap
from datapruning.models.flops import evaluation_cost
from datapruning.teachers.load import Teacher
from datapruning.training.evaluate import batch_logits
from datapruning.training.reproducibility import model_device
from datapruning.utils.console import ProgressBar, info
from datapruning.utils.cost import ComputeCost
from datapruning.utils.hashing import config_hash, row_checksums
from datapruning.utils.processes import agree, write_by_main
from datapruning.utils.records import Record, parse_record

ROWS = 256
FLUSH_SECONDS = 2.0
STATS = "stats.json"
REFILL_HINT = "delete the folder to fill it again"


class SoftLabelManifest(Record):
    """What defines the soft labels of a folder; its hash is the folder's name.

    `teacher` is the hash of its weights, `rows` the size of its batches, `total` N. Where views are mixed, `cutmix`
    and `mixup` are the policies that mix any, and `subset` the digest of the kept ids, from which the partners are drawn.
    `device` is "cpu" or "cuda", which round otherwise; with `tf32` a GPU's convolutions round their inputs to TF32.
    """

    format: Literal["datapruning.soft-labels"] = "datapruning.soft-labels"
    version: Literal[1] = 1
    fingerprint: str
    teacher: str
    views: AugmentPolicy
    rows: int = ROWS
    total: int
    classes: int
    cutmix: CutMixPolicy | None = None
    mixup: MixupPolicy | None = None
    subset: str | None = None
    device: str
    tf32: bool = False


class SoftLabelStats(Record):
    """How many soft labels of a folder were computed so far, and in how many seconds."""

    computed: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0


class SoftLabelCache:
    """Soft labels of one teacher under one view policy. Mixed views bind the cache to their subset.

    On disk, in the teacher's folder: `logits.npy` float16 [views, N, classes], `done.npy` uint8 [views, N] and `sums.npy`
    uint32 [views, N], a checksum of each label that is compared whenever it is read, all of them memory maps (the first is
    sparse: labels that were never requested take no space), and `manifest.json`.

    Raises:
        IncompatibleInputs: the folder's manifest is of other labels.
        InvalidFile: the arrays are broken. DiskFull: the disk is full.
    """

    def __init__(self, teacher: Teacher, views: Augmentation, fingerprint: str, total: int, classes: int) -> None:
        self.teacher, self.views = teacher, views
        # keys without effect are at their defaults: they do not change the folder's name
        policy, mixing = AugmentPolicy.model_validate(views.policy.to_dict()), views.mixing
        device = model_device(teacher.model).type
        manifest = SoftLabelManifest(
            fingerprint=fingerprint, teacher=teacher.weights_hash, views=policy, total=total, classes=classes,
            cutmix=mixing.cutmix if mixing and mixing.cutmix.enabled else None,
            mixup=mixing.mixup if mixing and mixing.mixup.enabled else None, subset=mixing.digest if mixing else None,
            device=device, tf32=device == "cuda" and torch.backends.cudnn.allow_tf32,
        )  # fmt: skip
        self.folder = teacher.folder / "soft-labels" / config_hash(manifest.to_json())
        shape = (views.policy.num_views, total, classes)
        path = self.folder / "manifest.json"
        with exclusive_lock(path, f"another process opens {self.folder}"):
            if not path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                create_memmap(self.folder / "logits.npy", np.float16, shape, sparse=True)
                create_memmap(self.folder / "sums.npy", np.uint32, shape[:2])
                create_memmap(self.folder / "done.npy", np.uint8, shape[:2])
                write_json(path, manifest.to_json())
        if parse_record(SoftLabelManifest, read_json(path), str(path)) != manifest:
            raise IncompatibleInputs(
                f"{self.folder} holds soft labels of another teacher, dataset or view policy; delete it"
            )
        self._shape = shape
        self._open()

    def _open(self) -> None:
        self._logits = _open_map(self.folder / "logits.npy", np.float16, self._shape)
        self._sums = _open_map(self.folder / "sums.npy", np.uint32, self._shape[:2])
        self._done = _open_map(self.folder / "done.npy", np.uint8, self._shape[:2])

    def missing(self, ids: NDArray[np.int64], view: int) -> NDArray[np.int64]:
        """The ids whose label in `view` was not computed yet."""
        return np.asarray(ids[self._done[view, ids] == 0])

    def fill(self, loader: Loader, ids: NDArray[np.int64], epochs: range) -> int:
        """Compute the missing labels of `ids` in the views of these epochs. Returns their number.

        A killed call loses at most a few batches; several commands may fill at once (one does, the others wait). The
        processes of one command share the batches, and process 0 writes.
        """
        views = sorted({self.views.view_index(epoch) for epoch in epochs})
        if not agree(sum(len(self.missing(ids, view)) for view in views)):
            return 0
        with exclusive_lock(self.folder / "fill", "another process fills these soft labels"):
            self._open()  # a network file system may have cached an older state
            missing = {view: self.missing(ids, view) for view in views}
            count = sum(len(t) for t in missing.values())
            if count:
                info(
                    f"soft labels: {count:,} of {len(ids) * len(views):,} are missing, "
                    f"{format_bytes(count * self._row_bytes)}"
                )
                started = time.perf_counter()
                with ProgressBar.open("soft labels", count) as bar:
                    for view, missing_ids in missing.items():
                        self._fill_view(loader, missing_ids, view, bar)
                stats = self._stats()
                seconds = round(stats.seconds + time.perf_counter() - started, 3)
                stats = SoftLabelStats(computed=stats.computed + count, seconds=seconds)
                write_json(self.folder / STATS, stats.to_json())
                self._open()
        return count

    def cost(self, count: int) -> ComputeCost:
        """The cost of computing so many labels; seconds at the mean rate so far."""
        stats = self._stats()
        seconds = round(count * stats.seconds / max(stats.computed, 1), 3)
        return evaluation_cost(self.teacher.model, count, seconds)

    def _stats(self) -> SoftLabelStats:
        path = self.folder / STATS
        return parse_record(SoftLabelStats, read_json(path), str(path)) if path.exists() else SoftLabelStats()

    @property
    def _row_bytes(self) -> int:
        return int(self._logits.shape[2]) * 2

    def _fill_view(self, loader: Loader, ids: NDArray[np.int64], view: int, bar: ProgressBar) -> None:
        batches = batch_logits(self.teacher.model, loader, row_batches(ids, ROWS), self.views, epoch=view)
        write_by_main(batches, partial(self._write_view, ids, view, bar))

    def _write_view(
        self, ids: NDArray[np.int64], view: int, bar: ProgressBar, batches: Iterable[tuple[Batch, Tensor]]
    ) -> None:
        is_requested = np.zeros(self._done.shape[1], np.bool_)
        is_requested[ids] = True
        written: list[NDArray[np.int64]] = []
        flushed_at = time.monotonic()
        for batch, logits in batches:
            rows = is_requested[batch.ids] & (batch.ids % ROWS == np.arange(ROWS))
            values = logits.cpu().numpy()[rows].astype(np.float16)
            if not np.isfinite(values).all():
                raise InvalidValue(f"teacher {self.teacher.folder} gives logits that are not finite in float16")
            self._write(view, batch.ids[rows], values)
            self._sums[view, batch.ids[rows]] = row_checksums(values)
            written.append(batch.ids[rows])
            if time.monotonic() - flushed_at > FLUSH_SECONDS:
                self._flush_done(view, written)
                flushed_at = time.monotonic()
            bar.advance(int(rows.sum()))
        self._flush_done(view, written)

    def _write(self, view: int, ids: NDArray[np.int64], values: NDArray[np.float16]) -> None:
        """Write through the file: a write to the sparse map would kill the process when the disk is full."""
        path, order = self.folder / "logits.npy", np.argsort(ids)
        with report_disk_full(path), path.open("r+b") as file:
            for run in np.split(order, np.flatnonzero(np.diff(ids[order]) != 1) + 1):
                if run.size:
                    row = view * self._logits.shape[1] + int(ids[run[0]])
                    file.seek(self._logits.offset + row * self._row_bytes)
                    file.write(values[run].tobytes())

    def _flush_done(self, view: int, written: list[NDArray[np.int64]]) -> None:
        self._sums.flush()
        self._logits.flush()  # labels reach the disk before their marks
        for ids in written:
            self._done[view, ids] = 1
        self._done.flush()
        written.clear()

    def __getitem__(self, key: tuple[NDArray[np.int64] | Tensor, int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [n, classes] of the view of that epoch.

        Raises:
            InvalidValue: a label that was not computed. InvalidFile: one that was changed since.
        """
        ids, epoch = key
        ids = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
        view = self.views.view_index(epoch)
        missing = self.missing(ids, view)
        if missing.size:
            raise InvalidValue(f"no soft label for sample id {missing[0]} in view {view}; call fill() first")
        logits = self._logits[view, ids]
        changed = ids[row_checksums(logits) != self._sums[view, ids]]
        if changed.size:
            raise InvalidFile(
                f"{self.folder / 'logits.npy'} was changed since it was written: the label of sample id {changed[0]} in "
                f"view {view} has another checksum; {REFILL_HINT}"
            )
        return torch.from_numpy(logits.astype(np.float32))


class TeacherLabels:
    """Soft labels of one or more teachers together, for the student's loss."""

    def __init__(self, caches: Iterable[SoftLabelCache]) -> None:
        self.caches = tuple(caches)

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [teachers, n, classes]."""
        return torch.stack([cache[key] for cache in self.caches])


def row_batches(ids: NDArray[np.int64], rows: int) -> list[NDArray[np.int64]]:
    """Batches of exactly `rows` ids in which id i is in row (i mod rows); rows without one hold another id."""
    if not ids.size:
        return []
    ids = np.sort(ids)
    row = ids % rows
    by_row = np.argsort(row, kind="stable")
    first = np.searchsorted(row[by_row], np.arange(rows))
    batch_index = np.empty(len(ids), np.int64)
    batch_index[by_row] = np.arange(len(ids)) - first[row[by_row]]  # number of smaller ids in the same row
    table = np.full((int(batch_index.max()) + 1, rows), ids[0])
    table[batch_index, row] = ids
    return list(table)


def _open_map(path: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    return open_checked_memmap(path, kind, shape, "soft labels", "r+", REFILL_HINT)
