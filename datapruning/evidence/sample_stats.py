"""Per-sample statistics in memory-mapped arrays, one row a recorded epoch."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.io.memmap import create_memmap, open_checked_memmap
from datapruning.utils.plural import plural
from datapruning.utils.processes import main_only

if TYPE_CHECKING:
    from torch import Tensor

TRAIN_STATISTICS = ("loss", "margin", "error_norm", "correct", "change")
"""Statistics of a training pass; `change` is computed by `PredictionChange`."""
EVAL_STATISTICS = ("loss", "margin", "error_norm", "correct", "entropy", "confidence", "gap")
"""Statistics of an evaluation pass."""
RECORDED = "recorded"
BLOCK_SAMPLES = 1 << 14
"""Samples that are read at a time: memory does not grow with their number."""


def dtype_of(statistic: str) -> Any:
    """The type that a statistic is stored in."""
    return np.dtype(np.uint8 if statistic in ("correct", RECORDED) else np.float32)


def statistics(logits: Tensor, targets: Tensor, names: tuple[str, ...] = EVAL_STATISTICS) -> dict[str, Tensor]:
    """The named statistics of each sample, [n], from logits float [n, classes] and targets int64 [n].

    Returns:
        loss: cross-entropy, exact where it is tiny. margin: the label's logit minus the largest other one (Pleiss et al.
        2020). error_norm: ||softmax(logits) - onehot(label)||_2 (Paul et al. 2021). correct: 1 where the label's logit is
        the largest. entropy: of the probabilities, in nats. confidence: the largest probability. gap: the largest
        probability minus the second.
    """
    import torch
    from torch.nn.functional import one_hot, softmax, softplus

    logits = logits.float()
    one_hot_labels = one_hot(targets, logits.shape[1])
    label_logit = logits.gather(1, targets[:, None]).squeeze(1)
    other_logits = logits.masked_fill(one_hot_labels.bool(), -torch.inf)
    probabilities = softmax(logits, dim=1)
    values = {
        "loss": softplus(other_logits.logsumexp(1) - label_logit),  # -log softmax loses a small loss in the rounding of 1
        "margin": label_logit - other_logits.amax(1),
        "error_norm": (probabilities - one_hot_labels).norm(dim=1),
        "correct": (logits.argmax(1) == targets).to(torch.uint8),
    }
    if "entropy" in names:
        top = probabilities.topk(2, dim=1).values
        entropy = torch.special.entr(probabilities).sum(1)
        values |= {"entropy": entropy, "confidence": top[:, 0], "gap": top[:, 0] - top[:, 1]}
    return {name: values[name] for name in names if name in values}


def runner_up_class(logits: Tensor, targets: Tensor) -> Tensor:
    """The class, other than the target, with the largest of logits float [n, classes], int32 [n]; of equals the lower."""
    import torch

    return logits.scatter(1, targets[:, None], -torch.inf).argmax(1).to(torch.int32)


class SampleStats:
    """Statistics [rows, N], each in one `.npy` memory map in `folder`, and which entries were recorded.

    Where several processes train one network, each writes the samples that it trains on.

    A row is a recorded epoch; `total` is N, the number of training samples. Missing arrays are created, unless they are
    opened to be read alone (`writable`).

    Raises:
        InvalidFile: arrays that are broken, or of another shape. DiskFull: the disk is full.
    """

    def __init__(
        self,
        folder: str | Path,
        rows: int,
        total: int,
        statistics: tuple[str, ...] = TRAIN_STATISTICS,
        *,
        writable: bool = True,
    ) -> None:
        folder = Path(folder)
        self.rows, self.total, self.statistics = rows, total, statistics
        if writable:
            folder.mkdir(parents=True, exist_ok=True)
        self.arrays = {
            name: _open(folder / f"{name}.npy", dtype_of(name), (rows, total), writable=writable)
            for name in (*statistics, RECORDED)
        }

    def __getitem__(self, statistic: str) -> NDArray[Any]:
        """A statistic, [rows, N]; `label_prob`, the probability of the label, is computed from the loss."""
        if statistic == "label_prob":
            return np.asarray(np.exp(-self.arrays["loss"]))
        if statistic not in self.arrays:
            raise InvalidValue(f"'{statistic}' is not recorded; there are {', '.join(self.statistics)} and label_prob")
        return self.arrays[statistic]

    def blocks(self, *statistics: str, rows: slice = slice(None)) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
        """Yield (samples, [the statistics of those rows and samples]) over all samples, one block at a time."""
        for start in range(0, self.total, BLOCK_SAMPLES):
            samples = slice(start, min(start + BLOCK_SAMPLES, self.total))
            arrays = []
            for name in statistics:
                array = np.array(self["loss" if name == "label_prob" else name][rows, samples])
                arrays.append(np.exp(-array.astype(np.float64)) if name == "label_prob" else array)
            yield samples, arrays
            self.release()

    @main_only
    def clear(self, row: int, keep: NDArray[np.int64] | None = None) -> None:
        """Begin a row again: what it held counts no more, but for the samples `keep`, int64."""
        recorded = np.zeros(self.total, np.uint8)
        if keep is not None:
            recorded[keep] = self.arrays[RECORDED][row, keep]
        self.arrays[RECORDED][row] = recorded

    def write(self, row: int, ids: NDArray[np.int64], values: Mapping[str, Tensor]) -> None:
        """Store the statistics of `ids`, each once a row (see `check_new`)."""
        for name in self.statistics:
            self.arrays[name][row, ids] = values[name].cpu().numpy()
        self.arrays[RECORDED][row, ids] = 1

    def check_new(self, row: int, ids: NDArray[np.int64]) -> None:
        """Refuse ids that cannot be written to a row.

        Raises:
            InvalidValue: an id outside the data, one that comes twice, or one that this row already has.
        """
        if ids.size and (ids.min() < 0 or ids.max() >= self.total):
            raise InvalidValue(f"recorded sample ids lie in 0..{self.total - 1}; got {ids.min()}..{ids.max()}")
        recorded = self.arrays[RECORDED][row]
        unique, counts = np.unique(ids, return_counts=True)
        duplicates = unique[(counts > 1) | (recorded[unique] > 0)]
        if duplicates.size:
            raise InvalidValue(
                f"sample id {duplicates[0]} was recorded twice in epoch {row} ({plural(duplicates.size, 'such id')})"
            )

    def check_complete(self, row: int, ids: NDArray[np.int64] | None = None, where: str = "") -> None:
        """Refuse a row with gaps; `where` names it in the message; default: its epoch.

        Raises:
            InvalidValue: naming the first sample of `ids` (default: of all) that was not recorded.
        """
        recorded = self.arrays[RECORDED][row]
        missing = np.flatnonzero(recorded == 0) if ids is None else ids[recorded[ids] == 0]
        if missing.size:
            where = where or f"epoch {row}"
            raise InvalidValue(f"{missing.size:,} samples were not recorded in {where}, the first is id {missing[0]}")

    def flush(self) -> None:
        """Write everything to disk and release its memory."""
        for array in self.arrays.values():
            if isinstance(array, np.memmap):
                array.flush()
        self.release()

    def release(self) -> None:
        """Release the memory of the pages that were read."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for array in self.arrays.values():
                if isinstance(array, np.memmap) and isinstance(array._mmap, mmap.mmap):  # type: ignore[attr-defined]
                    array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def _open(path: Path, dtype: Any, shape: tuple[int, int], *, writable: bool) -> NDArray[Any]:
    if writable and not path.exists():
        return create_memmap(path, dtype, shape)
    return open_checked_memmap(path, dtype, shape, "evidence", "r+" if writable else "r")


def check_class_count(name: str, num_classes: int) -> None:
    """Refuse a dataset of one class: its statistics compare the label with the other classes.

    Raises:
        InvalidValue: naming it.
    """
    if num_classes < 2:
        raise InvalidValue(f"{name} has a single class: there is none to compare it with; only the scorer random ranks it")
