"""A track: per-sample statistics in memory-mapped rows, one row a recorded epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from datapruning.errors import BadFile, BadValue, reason

STATISTICS = {"label_prob": np.float32, "margin": np.float32, "error_norm": np.float32, "correct": np.uint8}
RECORDED = "recorded"


def statistics(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """What a track keeps of each sample.

    Args:
        logits: float [n, classes].
        targets: int64 [n].

    Returns:
        label_prob: probability of the label. margin: the label's logit minus the largest other one (Pleiss et al. 2020).
        error_norm: ||softmax(logits) - onehot(label)||_2 (Paul et al. 2021). correct: 1 where the label's logit is the
        largest. Each [n].
    """
    logits = logits.float()
    truth = one_hot(targets, logits.shape[1])
    own = logits.gather(1, targets[:, None]).squeeze(1)
    others = logits.masked_fill(truth.bool(), -torch.inf).amax(1)
    probabilities = softmax(logits, dim=1)
    return {
        "label_prob": probabilities.gather(1, targets[:, None]).squeeze(1),
        "margin": own - others,
        "error_norm": (probabilities - truth).norm(dim=1),
        "correct": (logits.argmax(1) == targets).to(torch.uint8),
    }


class Track:
    """Rows x samples of each statistic, in one `.npy` memory map each, plus which cells were recorded.

    Args:
        folder: where the arrays lie; made if `rows` and `total` are given and it is not there.
        rows: recorded epochs.
        total: N, samples of the full training split.

    Raises:
        BadFile: arrays missing, broken, or of another shape.
    """

    def __init__(self, folder: str | Path, rows: int, total: int) -> None:
        folder = Path(folder)
        self.rows, self.total = rows, total
        folder.mkdir(parents=True, exist_ok=True)
        kinds: dict[str, Any] = {**STATISTICS, RECORDED: np.uint8}
        self.arrays = {name: _memory_map(folder / f"{name}.npy", kind, (rows, total)) for name, kind in kinds.items()}

    def __getitem__(self, statistic: str) -> NDArray[Any]:
        return self.arrays[statistic]

    def clear(self, row: int) -> None:
        """Begin a row again: what it held counts no more."""
        self.arrays[RECORDED][row] = 0

    def write(self, row: int, ids: NDArray[np.int64], values: dict[str, Tensor]) -> None:
        """Store the statistics of `ids`, each once a row.

        Raises:
            BadValue: an id outside the data, or one that this row already has.
        """
        if ids.size and (ids.min() < 0 or ids.max() >= self.total):
            raise BadValue(f"recorded sample ids lie in 0..{self.total - 1}; got {ids.min()}..{ids.max()}")
        recorded = self.arrays[RECORDED][row]
        unique, counts = np.unique(ids, return_counts=True)
        twice = unique[(counts > 1) | (recorded[unique] > 0)]
        if twice.size:
            raise BadValue(f"sample id {twice[0]} was recorded twice in row {row} ({twice.size:,} such ids)")
        for name in STATISTICS:
            self.arrays[name][row, ids] = values[name].cpu().numpy()
        recorded[ids] = 1

    def check_whole(self, row: int, ids: NDArray[np.int64] | None = None) -> None:
        """Refuse a row with gaps.

        Raises:
            BadValue: naming the first sample of `ids` (default: of all) that was not recorded.
        """
        seen = self.arrays[RECORDED][row]
        missing = np.flatnonzero(seen == 0) if ids is None else ids[seen[ids] == 0]
        if missing.size:
            raise BadValue(f"{missing.size:,} samples were not recorded in row {row}, the first is id {missing[0]}")

    def flush(self) -> None:
        """Hand everything to the disk."""
        for array in self.arrays.values():
            if isinstance(array, np.memmap):
                array.flush()


def _memory_map(path: Path, kind: Any, shape: tuple[int, int]) -> NDArray[Any]:
    if not path.exists():
        return np.lib.format.open_memmap(path, "w+", np.dtype(kind), shape)
    try:
        array = np.lib.format.open_memmap(path, "r+")
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(f"{path} is no whole array of evidence: {reason(error)}") from None
    if array.shape != shape or array.dtype != kind:
        raise BadFile(f"{path} is {array.dtype} {list(array.shape)}; {np.dtype(kind)} {list(shape)} is needed")
    return array
