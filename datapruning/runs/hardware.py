"""What a context computes on: the device, torch's threads and the kind of loader."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from datapruning.data.dataset import Dataset
from datapruning.data.loaders.factory import resolve_device, resolve_loader

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Hardware:
    """The device, torch's threads and the kind of loader, as they were named; each is resolved when it is first read.

    Only then torch is imported: a wrong option, and a finished run that is asked for again, need none of them.

    Attributes:
        device_name: "auto", "cpu", "cuda" or "cuda:N".
        loader_name: "auto", "ffcv", "mmap" or "memory".
        num_threads: torch threads on the CPU; None: torch's own number.
        data: the dataset, by whose size "auto" chooses a loader.
        is_remote: whether the names are for workers elsewhere, which resolve them; "auto" stays "auto" here.
    """

    device_name: str
    loader_name: str
    num_threads: int | None
    data: Dataset = field(repr=False)
    is_remote: bool = False

    @cached_property
    def device(self) -> torch.device:
        """Where networks run."""
        import torch

        return torch.device(self.device_name) if self.is_remote else resolve_device(self.device_name)

    @cached_property
    def loader_kind(self) -> str:
        """The kind of loader: "ffcv", "mmap" or "memory"."""
        return self.loader_name if self.is_remote else resolve_loader(self.loader_name, self.data, self.device)

    @cached_property
    def threads(self) -> int:
        """Torch threads on the CPU; part of the reproducibility contract."""
        if self.num_threads:
            return self.num_threads
        import torch

        return torch.get_num_threads()
