"""A track: per-sample statistics in memory-mapped rows, one row a recorded epoch."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot, softmax, softplus

from datapruning.errors import InvalidFile, InvalidValue, first_line
from datapruning.io.memmap import create_memmap
from datapruning.io.npy import open_npy_memmap

TRAIN_STATISTICS = ("loss", "margin", "error_norm", "correct", "change")
"""What is kept of every presentation; `change` is the recorder's (see `recorder.py`)."""
EVAL_STATISTICS = ("loss", "margin", "error_norm", "correct", "entropy", "confidence", "gap")
"""What is kept of an evaluation pass."""
RECORDED = "recorded"
BLOCK = 1 << 14
"""Samples that are read at a time: memory does not grow with their number."""


def dtype_of(statistic: str) -> Any:
    """How a statistic is stored."""
    return np.dtype(np.uint8 if statistic in ("correct", RECORDED) else np.float32)


def statistics(logits: Tensor, targets: Tensor, names: tuple[str, ...] = EVAL_STATISTICS) -> dict[str, Tensor]:
    """Statistics of each sample.

    Args:
        logits: float [n, classes].
        targets: int64 [n].
        names: which ones are asked for; any of:

    Returns:
        loss: cross-entropy, exact where it is tiny. margin: the label's logit minus the largest other one (Pleiss et al.
        2020). error_norm: ||softmax(logits) - onehot(label)||_2 (Paul et al. 2021). correct: 1 where the label's logit is
        the largest. entropy: of the probabilities, in nats. confidence: the largest probability. gap: the largest
        probability minus the second. Each [n].
    """
    logits = logits.float()
    truth = one_hot(targets, logits.shape[1])
    own = logits.gather(1, targets[:, None]).squeeze(1)
    others = logits.masked_fill(truth.bool(), -torch.inf)
    probabilities = softmax(logits, dim=1)
    found = {
        "loss": softplus(others.logsumexp(1) - own),  # -log softmax loses a small loss in the rounding of 1
        "margin": own - others.amax(1),
        "error_norm": (probabilities - truth).norm(dim=1),
        "correct": (logits.argmax(1) == targets).to(torch.uint8),
    }
    if "entropy" in names:
        top = probabilities.topk(2, dim=1).values
        entropy = torch.special.entr(probabilities).sum(1)
        found |= {"entropy": entropy, "confidence": top[:, 0], "gap": top[:, 0] - top[:, 1]}
    return {name: found[name] for name in names if name in found}


def runner_up_class(logits: Tensor, targets: Tensor) -> Tensor:
    """The class, other than the label, with the largest logit, int32 [n]; the lower one of equals.

    Args:
        logits: float [n, classes].
        targets: int64 [n].
    """
    return logits.scatter(1, targets[:, None], -torch.inf).argmax(1).to(torch.int32)


class SampleStats:
    """Rows x samples of each statistic, in one `.npy` memory map each, plus which cells were recorded.

    Args:
        folder: where the arrays lie; made if they are not there.
        rows: recorded epochs.
        total: N, samples of the full training split.
        statistics: what is kept.

    Raises:
        InvalidFile: arrays missing, broken, or of another shape. DiskFull: the disk is full.
    """

    def __init__(self, folder: str | Path, rows: int, total: int, statistics: tuple[str, ...] = TRAIN_STATISTICS) -> None:
        folder = Path(folder)
        self.rows, self.total, self.statistics = rows, total, statistics
        folder.mkdir(parents=True, exist_ok=True)
        self.arrays = {
            name: _memory_map(folder / f"{name}.npy", dtype_of(name), (rows, total)) for name in (*statistics, RECORDED)
        }

    def __getitem__(self, statistic: str) -> NDArray[Any]:
        """A statistic, [rows, N]; `label_prob`, the probability of the label, is worked out from the loss."""
        if statistic == "label_prob":
            return np.asarray(np.exp(-self.arrays["loss"]))
        if statistic not in self.arrays:
            raise InvalidValue(f"'{statistic}' is not recorded here; there are {', '.join(self.statistics)} and label_prob")
        return self.arrays[statistic]

    def blocks(self, *statistics: str, rows: slice = slice(None)) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
        """(samples, [each statistic of those rows and samples]) over all samples, some at a time, for large recordings."""
        for start in range(0, self.total, BLOCK):
            part = slice(start, min(start + BLOCK, self.total))
            found = []
            for name in statistics:
                values = np.array(self["loss" if name == "label_prob" else name][rows, part])
                found.append(np.exp(-values.astype(np.float64)) if name == "label_prob" else values)
            yield part, found
            self.release()

    def clear(self, row: int, but: NDArray[np.int64] | None = None) -> None:
        """Begin a row again: what it held counts no more, but for the samples `but`, int64."""
        kept = np.zeros(self.total, np.uint8)
        if but is not None:
            kept[but] = self.arrays[RECORDED][row, but]
        self.arrays[RECORDED][row] = kept

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
        twice = unique[(counts > 1) | (recorded[unique] > 0)]
        if twice.size:
            raise InvalidValue(f"sample id {twice[0]} was recorded twice in epoch {row} ({twice.size:,} such ids)")

    def check_complete(self, row: int, ids: NDArray[np.int64] | None = None, where: str = "") -> None:
        """Refuse a row with gaps; `where` says which one it is, if it is no epoch.

        Raises:
            InvalidValue: naming the first sample of `ids` (default: of all) that was not recorded.
        """
        seen = self.arrays[RECORDED][row]
        missing = np.flatnonzero(seen == 0) if ids is None else ids[seen[ids] == 0]
        if missing.size:
            where = where or f"epoch {row}"
            raise InvalidValue(f"{missing.size:,} samples were not recorded in {where}, the first is id {missing[0]}")

    def flush(self) -> None:
        """Hand everything to the disk, and its memory back."""
        for array in self.arrays.values():
            if isinstance(array, np.memmap):
                array.flush()
        self.release()

    def release(self) -> None:
        """Give back the memory of the pages that were looked at; the system keeps them as long as it likes."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for array in self.arrays.values():
                if isinstance(array, np.memmap) and isinstance(array._mmap, mmap.mmap):  # type: ignore[attr-defined]
                    array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def _memory_map(path: Path, kind: Any, shape: tuple[int, int]) -> NDArray[Any]:
    if not path.exists():
        return create_memmap(path, kind, shape)
    try:
        array = open_npy_memmap(path, "r+")
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} is no whole array of evidence: {first_line(error)}") from None
    if array.shape != shape or array.dtype != kind:
        raise InvalidFile(f"{path} is {array.dtype} {list(array.shape)}; {np.dtype(kind)} {list(shape)} is needed")
    return array
