"""Copies to the host that it does not wait for until it needs them."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


class HostCopies:
    """Copies of tensors on the way to the host, by name; those of tensors on a CPU are the tensors themselves."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._copies = {name: tensor.to("cpu", non_blocking=True) for name, tensor in tensors.items()}
        gpu = next((tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"), None)
        self._copied = None if gpu is None else torch.cuda.current_stream(gpu).record_event()

    def get(self) -> dict[str, Tensor]:
        """The copies; the host waits for them if they are not here yet."""
        if self._copied is not None and not self._copied.query():
            self._copied.synchronize()
        return self._copies


def delayed(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Yield the items in order, each after `count` more were taken."""
    pending: deque[Item] = deque()
    for item in items:
        pending.append(item)
        if len(pending) > count:
            yield pending.popleft()
    yield from pending
