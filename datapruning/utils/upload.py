"""Copies to a device that neither the host nor the device's own work waits for."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

UPLOADS_AHEAD = 1
"""Items on the way to the device while an earlier one is used."""


def pinned(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on the host, in pinned memory where `device` is a GPU: only from there is a copy asynchronous."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on `device`; the host does not wait for the copy. On a CPU they share memory."""
    return pinned(array, device).to(device, non_blocking=True)


def upload_ahead(items: Iterable[Sequence[Tensor]], device: torch.device) -> Iterator[list[Tensor]]:
    """Yield the tensors of each item on `device`, in order.

    On a GPU they are copied by a stream of their own while the item before is used; they should be `pinned`.
    """
    if device.type != "cuda":
        yield from map(list, items)
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    pending: deque[tuple[list[Tensor], torch.cuda.Event]] = deque()
    for item in items:
        with torch.cuda.stream(stream):
            tensors = [tensor.to(device, non_blocking=True) for tensor in item]
            pending.append((tensors, stream.record_event()))
        if len(pending) > UPLOADS_AHEAD:
            yield _arrived(*pending.popleft(), device)
    while pending:
        yield _arrived(*pending.popleft(), device)


def _arrived(tensors: list[Tensor], copied: torch.cuda.Event, device: torch.device) -> list[Tensor]:
    """The tensors, which the stream at hand may use from here on; their memory is not reused before it has."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(copied)
    for tensor in tensors:
        tensor.record_stream(stream)
    return tensors
