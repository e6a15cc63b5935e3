"""Soft labels that stay on a GPU, so that views that come again are looked up on the host and uploaded but once."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.utils.upload import upload

MAX_MEMORY_SHARE = 0.25
"""Share of the free memory of the GPU that a table may take."""


class LabelTable:
    """The logits of a training's samples in its views on a GPU, each from when it is added.

    A table that would take more than a quarter of the memory that is free at the first `add` stays empty.

    Args:
        ids: int64 [n], the samples.
        num_views: number of different views.
        device: a GPU.
    """

    def __init__(self, ids: NDArray[np.int64], num_views: int, device: torch.device) -> None:
        self.ids, self.device = np.sort(ids), device
        self._is_known = np.zeros((num_views, len(ids)), bool)
        self._logits: dict[int, Tensor] = {}
        self._fits: bool | None = None

    def has(self, ids: NDArray[np.int64], view: int) -> bool:
        """Whether the logits of all these samples are in the table."""
        return bool(self._is_known[view, self._rows(ids)].all())

    def get(self, ids: NDArray[np.int64], view: int) -> Tensor:
        """Logits float32 [teachers, n, classes] of samples that the table has. The host does not wait."""
        return self._logits[view].index_select(1, upload(self._rows(ids), self.device))

    def add(self, ids: NDArray[np.int64], view: int, logits: Tensor) -> None:
        """Keep logits float32 [teachers, n, classes] if there is memory for all views."""
        teachers, _, classes = logits.shape
        if self._fits is None:
            num_bytes = self._is_known.size * teachers * classes * logits.element_size()
            self._fits = num_bytes <= MAX_MEMORY_SHARE * torch.cuda.mem_get_info(self.device)[0]
        if not self._fits:
            return
        if view not in self._logits:
            self._logits[view] = logits.new_empty((teachers, len(self.ids), classes))
        rows = self._rows(ids)
        self._logits[view].index_copy_(1, upload(rows, self.device), logits)
        self._is_known[view, rows] = True

    def _rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.ids, ids)
