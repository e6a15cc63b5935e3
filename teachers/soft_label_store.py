"""The files of soft labels: a teacher's logits by view and sample id, computed when they are first needed.

Which of several callers needs them first makes no difference. A network's output for a sample can differ in its last bits
with the shape of the batch and with the sample's row in it (ragged batches flipped 3-30% of float16 labels in a trial), so
every batch has the same number of rows, and a sample is always in row (id mod rows). Only the requested ids are computed;
rows without one are padded.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.disk_space import format_bytes, report_disk_full
from datapruning.io.json import read_json, write_json
from datapruning.io.locks import exclusive_lock
from datapruning.io.memmap import create_memmap, open_checked_memmap
from datapruning.teachers.top_k import MAX_CLASSES, CompressedLogits, StoredLogits, compress, expand, merge
from datapruning.utils.console import ProgressBar, info
from datapruning.utils.download import delayed
from datapruning.utils.hashing import config_hash, row_checksums
from datapruning.utils.predicted_time import announce_time
from datapruning.utils.processes import agree, write_by_main
from datapruning.utils.records import Record, parse_record

ROWS = 256
FLUSH_SECONDS = 2.0
BATCHES_BEHIND = 4
"""Batches that a GPU computes while the one before them is on its way to the host, which does not wait for it."""
MANIFEST, STATS = "manifest.json", "stats.json"
REFILL_HINT = "delete the folder to fill it again"
Batches = Iterator[tuple[NDArray[np.int64], Tensor]]
"""Ids int64 [rows] and logits float [rows, classes] of batches as `row_batches` arranges them."""


class ReplayedViews(Record):
    """Views that a dataset's own augmentation makes: sample i in view v is augmented with the random seed
    (seed + v * N + i) mod 2**32.
    """

    replayed: Literal[True] = True
    num_views: Annotated[int, Field(ge=1, le=1_000_000)]
    seed: int = 0


class SoftLabelManifest(Record):
    """What defines the soft labels of a folder; its hash is the folder's name.

    `teacher` is the hash of its weights, `rows` the size of its batches, `total` N. Where views are mixed, `cutmix`
    and `mixup` are the policies that mix any, and `subset` the digest of the kept ids, from which the partners are drawn.
    `top_k` logits at `temperature` are stored (`datapruning.teachers.top_k`), or all (None).
    `device` is "cpu" or "cuda", which round otherwise; with `tf32` a GPU's convolutions round their inputs to TF32.
    """

    format: Literal["datapruning.soft-labels"] = "datapruning.soft-labels"
    version: Literal[1] = 1
    fingerprint: str
    teacher: str
    views: Annotated[ReplayedViews | AugmentPolicy, Field(union_mode="left_to_right")]
    rows: Annotated[int, Field(ge=1)] = ROWS
    total: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=1)]
    top_k: Annotated[int | None, Field(ge=1, lt=MAX_CLASSES)] = None
    temperature: Annotated[float | None, Field(gt=0)] = None
    cutmix: CutMixPolicy | None = None
    mixup: MixupPolicy | None = None
    subset: str | None = None
    device: str
    tf32: bool = False

    @property
    def hash(self) -> str:
        """The name of the folder."""
        return config_hash(self.to_json())


class SoftLabelStats(Record):
    """How many soft labels of a folder were computed so far, and in how many seconds."""

    computed: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0


class SoftLabelStore:
    """A folder of soft labels, created if it does not exist; docs/files.md describes its files.

    The labels can be read without write permission once they are computed. Copies in other processes open the files again.

    Labels that the store `shared` of the same manifest has are read from there and never written: it adds to a store that
    may not be written.

    Raises:
        IncompatibleInputs: the folder's manifest is of other labels.
        InvalidFile: the arrays are broken. DiskFull: the disk is full.
    """

    def __init__(self, folder: Path, manifest: SoftLabelManifest, shared: "SoftLabelStore | None" = None) -> None:
        self.folder, self.manifest, self.shared = folder, manifest, shared
        path = folder / MANIFEST
        if not agree(path.exists()):
            with exclusive_lock(path, f"another process opens {folder}"):
                if not path.exists():
                    self._create(path)
        if parse_record(SoftLabelManifest, read_json(path), str(path)) != manifest:
            raise IncompatibleInputs(f"{folder} holds soft labels of another teacher, dataset or view policy; delete it")
        self._open()

    def _create(self, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, (kind, shape) in self._arrays().items():
            create_memmap(self.folder / f"{name}.npy", kind, shape, sparse=name in ("logits", "classes"))
        write_json(path, self.manifest.to_json())

    def _arrays(self) -> dict[str, tuple[Any, tuple[int, ...]]]:
        """Type and shape of each array, by the name of its file."""
        manifest = self.manifest
        shape, top_k = (manifest.views.num_views, manifest.total), manifest.top_k
        classes = {} if top_k is None else {"classes": (np.uint16, (*shape, top_k))}
        width = manifest.classes if top_k is None else top_k + 1
        return {
            "logits": (np.float16, (*shape, width)), **classes, "sums": (np.uint32, shape), "done": (np.uint8, shape),
        }  # fmt: skip

    def _open(self, mode: str = "r") -> None:
        arrays = {
            name: open_checked_memmap(self.folder / f"{name}.npy", kind, shape, "soft labels", mode, REFILL_HINT)
            for name, (kind, shape) in self._arrays().items()
        }
        self._logits, self._classes = arrays["logits"], arrays.get("classes")
        self._sums, self._done = arrays["sums"], arrays["done"]

    def __getstate__(self) -> dict[str, Any]:
        # without memory maps, which are copied with all their numbers
        return {"folder": self.folder.absolute(), "manifest": self.manifest, "shared": self.shared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    @property
    def num_views(self) -> int:
        """V, the number of views: epoch e sees view e mod V."""
        return self.manifest.views.num_views

    @property
    def stats(self) -> SoftLabelStats:
        """How many labels were computed so far, and in how many seconds; with those of `shared`."""
        own, shared = self._own_stats(), SoftLabelStats() if self.shared is None else self.shared.stats
        return SoftLabelStats(computed=own.computed + shared.computed, seconds=own.seconds + shared.seconds)

    def _own_stats(self) -> SoftLabelStats:
        path = self.folder / STATS
        return parse_record(SoftLabelStats, read_json(path), str(path)) if path.exists() else SoftLabelStats()

    def missing(self, ids: NDArray[np.int64], view: int) -> NDArray[np.int64]:
        """The ids whose label in `view` was not computed yet."""
        missing = np.asarray(ids[self._done[view, ids] == 0])
        return missing if self.shared is None else self.shared.missing(missing, view)

    def fill(
        self, ids: NDArray[np.int64], views: Sequence[int], compute: Callable[[NDArray[np.int64], int], Batches]
    ) -> int:
        """Compute the missing labels of `ids` in `views`. Returns their number.

        A killed call loses at most a few batches; several commands may fill at once (one does, the others wait). The
        processes of one command share the batches, and process 0 writes.

        Args:
            ids: int64, in any order.
            views: numbers of views.
            compute: gives the batches (`row_batches`) of the ids in the view that it is called with.

        Raises:
            InvalidValue: logits that are not finite in float16. DiskFull: the disk is full.
        """
        if not agree(sum(len(self.missing(ids, view)) for view in views)):
            return 0
        announce_time()
        with exclusive_lock(self.folder / "fill", "another process fills these soft labels"):
            self._open("r+")  # again: a network file system may have cached an older state
            missing = {view: self.missing(ids, view) for view in views}
            count = sum(len(t) for t in missing.values())
            if count:
                row_bytes = sum(array.shape[2] * 2 for array in (self._logits, self._classes) if array is not None)
                size = format_bytes(count * row_bytes)
                info(f"soft labels: {count:,} of {len(ids) * len(views):,} are missing, {size}")
                started = time.perf_counter()
                with ProgressBar.open("soft labels", count) as bar:
                    for view, missing_ids in missing.items():
                        batches = compute(missing_ids, view)
                        write_by_main(batches, partial(self._write_batches, missing_ids, view, bar))
                stats = self._own_stats()
                seconds = round(stats.seconds + time.perf_counter() - started, 3)
                write_json(self.folder / STATS, SoftLabelStats(computed=stats.computed + count, seconds=seconds).to_json())
            self._open()
        return count

    def _write_batches(
        self, ids: NDArray[np.int64], view: int, bar: ProgressBar, batches: Iterable[tuple[NDArray[np.int64], Tensor]]
    ) -> None:
        is_requested = np.zeros(self.manifest.total, np.bool_)
        is_requested[ids] = True
        written: list[NDArray[np.int64]] = []
        flushed_at = time.monotonic()
        top_k, temperature = self.manifest.top_k, self.manifest.temperature or 1.0
        compressed = ((batch_ids, CompressedLogits(logits, top_k, temperature)) for batch_ids, logits in batches)
        for batch_ids, logits in delayed(compressed, BATCHES_BEHIND if self.manifest.device == "cuda" else 0):
            rows = is_requested[batch_ids] & (batch_ids % len(batch_ids) == np.arange(len(batch_ids)))
            self.write(view, batch_ids[rows], logits.get().select(rows))
            written.append(batch_ids[rows])
            if time.monotonic() - flushed_at > FLUSH_SECONDS:
                self.mark_done(view, written)
                flushed_at = time.monotonic()
            bar.advance(int(rows.sum()))
        self.mark_done(view, written)

    def compress(self, logits: Tensor) -> StoredLogits:
        """Logits float [n, classes] as this store holds them."""
        return compress(logits, self.manifest.top_k, self.manifest.temperature or 1.0)

    def write(self, view: int, ids: NDArray[np.int64], stored: StoredLogits) -> None:
        """Write the labels of `ids` int64 [n] in a view; only `mark_done` makes them count.

        Raises:
            InvalidValue: logits that are not finite in float16. DiskFull: the disk is full.
        """
        infinite = ids[~np.isfinite(stored.values).all(1)]
        if infinite.size:
            raise InvalidValue(
                f"the teacher's logits of sample id {infinite[0]} in view {view} are NaN, or too large for float16"
            )
        self._write_rows("logits", self._logits, view, ids, stored.values)
        if self._classes is not None and stored.classes is not None:
            self._write_rows("classes", self._classes, view, ids, stored.classes)
        self._sums[view, ids] = row_checksums(stored.bits)

    def _write_rows(
        self, name: str, array: np.memmap[Any, Any], view: int, ids: NDArray[np.int64], values: NDArray[Any]
    ) -> None:
        """Write through the file: a write to the sparse map would kill the process when the disk is full."""
        path, order, row_bytes = self.folder / f"{name}.npy", np.argsort(ids), array.shape[2] * array.itemsize
        with report_disk_full(path), path.open("r+b") as file:
            for run in np.split(order, np.flatnonzero(np.diff(ids[order]) != 1) + 1):
                if run.size:
                    file.seek(array.offset + (view * array.shape[1] + int(ids[run[0]])) * row_bytes)
                    file.write(values[run].tobytes())

    def mark_done(self, view: int, written: list[NDArray[np.int64]]) -> None:
        """Mark labels that were written as computed, and empty the list of their ids."""
        for array in (self._sums, self._logits, self._classes):
            if array is not None:
                array.flush()  # labels reach the disk before their marks
        for ids in written:
            self._done[view, ids] = 1
        self._done.flush()
        written.clear()

    def stored(self, ids: NDArray[np.int64], view: int) -> StoredLogits:
        """The labels of `ids` int64 [n] in a view, as they are stored.

        Raises:
            InvalidValue: a label that was not computed. InvalidFile: one that was changed since.
        """
        missing = self.missing(ids, view)
        if missing.size:
            raise InvalidValue(f"no soft label for sample id {missing[0]} in view {view}; fill it first")
        if self.shared is not None:
            is_own = self._done[view, ids] != 0
            return merge(is_own, self._read_rows(ids[is_own], view), self.shared.stored(ids[~is_own], view))
        return self._read_rows(ids, view)

    def _read_rows(self, ids: NDArray[np.int64], view: int) -> StoredLogits:
        stored = StoredLogits(self._logits[view, ids], None if self._classes is None else self._classes[view, ids])
        changed = ids[row_checksums(stored.bits) != self._sums[view, ids]]
        if changed.size:
            raise InvalidFile(
                f"{self.folder / 'logits.npy'} was changed since it was written: the label of sample id {changed[0]} in "
                f"view {view} has another checksum; {REFILL_HINT}"
            )
        return stored

    def read(self, ids: NDArray[np.int64], view: int) -> Tensor:
        """Logits float32 [n, classes] of `ids` int64 [n] in a view; raises what `stored` does."""
        return torch.from_numpy(expand(self.stored(ids, view), self.manifest.classes))


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
