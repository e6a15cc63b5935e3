"""Loaders: batches of raw uint8 images, labels and ids, in exactly the requested order.

All loaders answer the same call with the same bits: `read(batches)`, where each batch is an array of sample ids. Order,
batch size and padding are decided by the caller (`data/batching.py`), augmentation by the views; a loader only decodes and
gathers. `factory.py` opens one.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.errors import LoaderError
from datapruning.utils.upload import pinned, upload_ahead

GROUP_PIXELS = 2**24
"""Numbers that the images of batches which a GPU reads and augments at once may have, 64 MB as float32."""


class MixedLabels(NamedTuple):
    """Labels of mixed images: `targets_b` int64 [n], the partners' labels; `lam` float32 [n], the weight of the first."""

    targets_b: Tensor
    lam: Tensor


class Batch(NamedTuple):
    """`images` uint8 [n, height, width, channels] and `labels` int64 [n] on the device, `ids` int64 [n] on the host.

    The tensors are the caller's own: later batches do not change them.

    Attributes:
        mixed: None where images are not mixed.
        device_ids: the ids as a tensor on the device, where training reads the batch.
        teacher_logits: float32 [teachers, n, classes], where training reads soft labels with the batch.
        self_teacher_logits: likewise, of the self teacher (TF-KD).
    """

    images: Tensor
    labels: Tensor
    ids: NDArray[np.int64]
    mixed: MixedLabels | None = None
    device_ids: Tensor | None = None
    teacher_logits: Tensor | None = None
    self_teacher_logits: Tensor | None = None

    def rows(self, begin: int, end: int) -> "Batch":
        """The samples begin..end-1."""
        rows = slice(begin, end)
        mixed = MixedLabels(*(column[rows] for column in self.mixed)) if self.mixed else None
        device_ids = None if self.device_ids is None else self.device_ids[rows]
        teacher, self_teacher = (None if x is None else x[:, rows] for x in (self.teacher_logits, self.self_teacher_logits))
        return Batch(self.images[rows], self.labels[rows], self.ids[rows], mixed, device_ids, teacher, self_teacher)


def make_batches(
    device: torch.device, images: Iterable[Tensor], labels: NDArray[np.int64], batches: Sequence[NDArray[np.int64]]
) -> Iterator[Batch]:
    """The batches of freshly read `images` uint8 [n, ...], `pinned`; `labels` are those of the full split."""
    pairs = ((pixels, pinned(labels[ids], device)) for pixels, ids in zip(images, batches, strict=True))
    for ids, (pixels, batch_labels) in zip(batches, upload_ahead(pairs, device), strict=True):
        yield Batch(pixels, batch_labels, ids)


def samples_at_once(device: torch.device, image_shape: tuple[int, ...]) -> int:
    """See `Loader`: a launch costs a GPU the same for one small batch and for ten; a CPU keeps a batch in its cache."""
    return GROUP_PIXELS // prod(image_shape) if device.type == "cuda" else 0


class Loader(Protocol):
    """Reads one split."""

    samples_at_once: int
    """Batches are best read and augmented together as long as they have no more samples than this; 0: one at a time."""

    @property
    def kind(self) -> str:
        """Its name: "ffcv", "mmap" or "memory"."""
        ...

    def __len__(self) -> int:
        """The number of samples in the split."""
        ...

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """One `Batch` for each array of ids, in order; every requested sample arrives, as often as it is requested.

        Raises:
            LoaderError: an id out of range (before anything is read), or the worker's own exception.
        """
        ...


def validate_batches(batches: Sequence[NDArray[np.int64]], total: int) -> list[NDArray[np.int64]]:
    """The batches as plain int64 arrays; ids outside a split of `total` samples are refused before loading.

    Raises:
        LoaderError: naming the first id that is out of range, or a type that ids cannot have (a boolean mask, floats).
    """
    for ids in batches:
        if not np.issubdtype(ids.dtype, np.integer):
            raise LoaderError(f"sample ids are whole numbers, got {ids.dtype} (np.flatnonzero(mask) makes ids of a mask)")
        outside = ids[(ids < 0) | (ids >= total)]
        if outside.size:
            raise LoaderError(f"sample id {outside[0]} is not in 0..{total - 1}")
    return [np.require(ids, np.int64, ["C", "W"]) for ids in batches]  # copies only what torch could not take
