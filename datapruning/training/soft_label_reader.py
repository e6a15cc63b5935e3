"""Soft labels for the batches of an epoch, on the device: a GPU gets them ahead of time, many batches at once."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.prefetch import read_ahead
from datapruning.training.label_table import LabelTable
from datapruning.training.losses import SoftLabels
from datapruning.utils.upload import pinned, upload_ahead

ROWS = 8192
"""Samples whose soft labels are looked up and uploaded together: 33 MB with 1,000 classes."""
Request = tuple[NDArray[np.int64], int]
"""Sample ids int64 [n] and the epoch whose view is wanted."""


class SoftLabelReader:
    """Reads the soft labels of a training's batches.

    For a GPU a thread looks up those of thousands of samples and puts them into pinned memory, and a stream of their own
    copies them, while earlier ones are used: neither the host nor the GPU waits, and memory stays constant. Labels of views
    that come again stay on the GPU where its memory allows it (`LabelTable`).

    Args:
        labels: of the teachers; None: there are none.
        ids: int64 [n], the samples of the training.
        num_views: number of different views: epoch e sees view e modulo this number.
        num_epochs: of the training.
        device: where the labels are wanted.
    """

    def __init__(
        self, labels: SoftLabels | None, ids: NDArray[np.int64], num_views: int, num_epochs: int, device: torch.device
    ) -> None:
        self.labels, self.num_views, self.device = labels, num_views, device
        keep = labels is not None and device.type != "cpu" and num_epochs > num_views
        self.table = LabelTable(ids, num_views, device) if keep else None

    def read(self, requests: Sequence[Request | None]) -> Iterator[Tensor | None]:
        """Yield the logits float32 [teachers, n, classes] of each request, in order.

        None where nothing is requested, or there are no labels.
        """
        labels = self.labels
        wanted = [request for request in requests if request is not None]
        if labels is None or not wanted:
            yield from [None] * len(requests)
            return
        if self.device.type == "cpu":
            logits: Iterator[Tensor] = (labels[ids, epoch] for ids, epoch in wanted)
        else:
            logits = self._read_groups(labels, wanted)
        for request in requests:
            yield None if request is None else next(logits)

    def _read_groups(self, labels: SoftLabels, requests: Sequence[Request]) -> Iterator[Tensor]:
        table = self.table
        groups: list[list[Request]] = []
        for request in requests:
            fits = groups and groups[-1][0][1] == request[1] and sum(len(ids) for ids, _ in groups[-1]) < ROWS
            groups[-1].append(request) if fits else groups.append([request])
        lookups = [(np.concatenate([ids for ids, _ in group]), group[0][1]) for group in groups]
        known = [table is not None and table.has(ids, epoch % self.num_views) for ids, epoch in lookups]

        def look_up(request: Request) -> list[Tensor]:
            return [pinned(labels[request].numpy(), self.device)]

        unknown = [request for request, is_known in zip(lookups, known, strict=True) if not is_known]
        uploaded = upload_ahead(read_ahead(look_up, unknown, threads=1, ahead=1), self.device)
        for group, (ids, epoch), is_known in zip(groups, lookups, known, strict=True):
            if table is not None and is_known:
                logits = table.get(ids, epoch % self.num_views)
            else:
                (logits,) = next(uploaded)
                if table is not None:
                    table.add(ids, epoch % self.num_views, logits)
            yield from torch.split(logits, [len(ids) for ids, _ in group], dim=1)
