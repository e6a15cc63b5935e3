"""The teacher's logits that a user's search reads: an array, or anything with `labels[ids, epoch]`."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from datapruning.errors import InvalidValue
from datapruning.training.losses import SoftLabels


class Logits(Protocol):
    """Logits by id and epoch, such as `dp.soft_labels` returns."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int], /) -> Tensor:
        """`labels[ids, epoch]`: float [n, classes], or [teachers, n, classes] of several."""
        ...


class LogitArray:
    """A teacher's logits float [N, classes] by sample id, the same in every epoch. A memory map stays on the disk.

    Raises:
        InvalidValue: an array of another shape or type.
    """

    def __init__(self, logits: ArrayLike | Tensor) -> None:
        array = logits.detach().cpu().float().numpy() if isinstance(logits, Tensor) else np.asanyarray(logits)
        if array.ndim != 2 or array.dtype.kind != "f":
            raise InvalidValue(f"soft labels are logits float [N, classes] by id; got {array.dtype} {list(array.shape)}")
        self._logits = array

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [1, n, classes].

        Raises:
            InvalidValue: ids outside 0..N-1, or logits that are NaN or infinite.
        """
        ids, total = key[0], len(self._logits)
        if ids.size and not 0 <= ids.min() <= ids.max() < total:
            raise InvalidValue(f"the soft labels are of ids 0 to {total - 1:,}; got {ids.min():,} to {ids.max():,}")
        logits = np.asarray(self._logits[ids], np.float32)
        if not (finite := np.isfinite(logits).all(1)).all():
            raise InvalidValue(f"the soft label of id {ids[np.argmin(finite)]} is NaN or infinite")
        return torch.from_numpy(logits)[None]


class _WithTeachers:
    """Logits with a first dimension of teachers."""

    def __init__(self, labels: Logits) -> None:
        self._labels = labels

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        logits = self._labels[key]
        return logits if logits.ndim == 3 else logits[None]


def as_soft_labels(labels: Logits | ArrayLike | Tensor) -> SoftLabels:
    """The logits of an array, or of an object with `labels[ids, epoch]`, with a first dimension of teachers."""
    if isinstance(labels, Tensor | np.ndarray | list | tuple):
        return LogitArray(labels)
    return _WithTeachers(labels)  # type: ignore[arg-type]
