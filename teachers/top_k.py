"""Logits of many classes in little space: the k largest, and one number for all others.

Of logits z of C classes the k largest are kept. Each of the others becomes r = T * (ln sum exp(z_c / T) - ln(C - k)), the
sum over the classes that are not kept: together they have their probability at temperature T, each an equal share of it.
At this T the probabilities of the k kept classes, and with them their terms of the KD loss, are exact up to the rounding
to float16; the terms of the others are those of the evenly spread rest. At another temperature the rest has another share.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.utils.download import HostCopies

MAX_CLASSES = 2**16
"""The numbers of classes are stored as uint16."""


class StoredLogits(NamedTuple):
    """Logits as they are stored.

    Attributes:
        values: float16 [n, classes]; of top-k logits [n, k + 1], falling, the last one r of each class that is not kept.
        classes: uint16 [n, k], the numbers of the kept classes in the order of `values`; None: all are kept, in their order.
    """

    values: NDArray[np.float16]
    classes: NDArray[np.uint16] | None = None

    def select(self, rows: NDArray[np.bool_]) -> "StoredLogits":
        """Some of the rows."""
        return StoredLogits(self.values[rows], None if self.classes is None else self.classes[rows])

    @property
    def bits(self) -> NDArray[np.float16]:
        """All numbers of a row side by side, for its checksum."""
        if self.classes is None:
            return self.values
        return np.concatenate([self.values, self.classes.view(np.float16)], axis=1)


class CompressedLogits:
    """Logits on the way to the host, as `compress` returns them."""

    def __init__(self, logits: Tensor, top_k: int | None, temperature: float) -> None:
        self._copies = HostCopies(_compress(logits, top_k, temperature))

    def get(self) -> StoredLogits:
        """The logits, for which the host waits if they are not here yet."""
        arrays = {name: tensor.numpy() for name, tensor in self._copies.get().items()}
        classes = arrays.get("classes")
        return StoredLogits(arrays["values"], None if classes is None else classes.astype(np.uint16))


def compress(logits: Tensor, top_k: int | None, temperature: float) -> StoredLogits:
    """Logits float [n, classes] as they are stored: the `top_k` largest, or all (None)."""
    return CompressedLogits(logits, top_k, temperature).get()


def _compress(logits: Tensor, top_k: int | None, temperature: float) -> dict[str, Tensor]:
    if top_k is None:
        return {"values": logits.to(torch.float16)}
    largest, classes = logits.topk(top_k, dim=1)
    others = logits.scatter(1, classes, -math.inf)
    log_sum = torch.logsumexp(others / temperature, 1) - math.log(logits.shape[1] - top_k)
    values = torch.cat([largest, temperature * log_sum[:, None]], 1)
    return {"values": values.to(torch.float16), "classes": classes.to(torch.int32)}


def merge(is_first: NDArray[np.bool_], first: StoredLogits, second: StoredLogits) -> StoredLogits:
    """Rows of `first` where `is_first` bool [n] says so, and of `second` elsewhere, both in their order."""
    values = np.empty((len(is_first), first.values.shape[1]), np.float16)
    values[is_first], values[~is_first] = first.values, second.values
    if first.classes is None or second.classes is None:
        return StoredLogits(values)
    classes = np.empty((len(is_first), first.classes.shape[1]), np.uint16)
    classes[is_first], classes[~is_first] = first.classes, second.classes
    return StoredLogits(values, classes)


def expand(stored: StoredLogits, num_classes: int) -> NDArray[np.float32]:
    """Logits float32 [n, classes] from what is stored."""
    values = stored.values.astype(np.float32)
    if stored.classes is None:
        return values
    logits = np.repeat(values[:, -1:], num_classes, axis=1)
    np.put_along_axis(logits, stored.classes.astype(np.int64), values[:, :-1], 1)
    return logits
