"""Soft labels for the batches of an epoch, on the device: a GPU gets them ahead of time, many batches at once."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.prefetch import read_ahead
from datapruning.training.losses import SoftLabels
from datapruning.utils.upload import pinned, upload_ahead

ROWS = 8192
"""Samples whose soft labels are looked up and uploaded together: 33 MB with 1,000 classes."""
Request = tuple[NDArray[np.int64], int] | None
"""Sample ids int64 [n] and the epoch whose view is wanted, or nothing."""


def read_soft_labels(
    labels: SoftLabels | None, requests: Sequence[Request], device: torch.device
) -> Iterator[Tensor | None]:
    """Yield the logits float32 [teachers, n, classes] of each request, in order; None where there are no labels.

    For a GPU a thread looks up those of thousands of samples and puts them into pinned memory, and a stream of their own
    copies them, while earlier ones are used: neither the host nor the GPU waits, and memory stays constant.
    """
    wanted = [request for request in requests if request is not None]
    if labels is None or not wanted:
        yield from [None] * len(requests)
        return
    if device.type == "cpu":
        logits: Iterator[Tensor] = (labels[ids, epoch] for ids, epoch in wanted)
    else:
        logits = _read_groups(labels, wanted, device)
    for request in requests:
        yield None if request is None else next(logits)


def _read_groups(
    labels: SoftLabels, requests: Sequence[tuple[NDArray[np.int64], int]], device: torch.device
) -> Iterator[Tensor]:
    groups: list[list[tuple[NDArray[np.int64], int]]] = []
    for request in requests:
        fits = groups and groups[-1][0][1] == request[1] and sum(len(ids) for ids, _ in groups[-1]) < ROWS
        groups[-1].append(request) if fits else groups.append([request])

    def read(group: list[tuple[NDArray[np.int64], int]]) -> list[Tensor]:
        return [pinned(labels[np.concatenate([ids for ids, _ in group]), group[0][1]].numpy(), device)]

    uploaded = upload_ahead(read_ahead(read, groups, threads=1, ahead=1), device)
    for group, (logits,) in zip(groups, uploaded, strict=True):
        yield from torch.split(logits, [len(ids) for ids, _ in group], dim=1)
