"""What a context computes on: the device, torch's threads and the kind of loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from datapruning.data.dataset import Dataset
from datapruning.data.loaders.factory import resolve_device, resolve_loader
from datapruning.utils.system import available_cpus

if TYPE_CHECKING:
    import torch


THREAD_FLOPS = 100_000_000
"""Floating-point operations of a batch's forward pass that occupy one thread; with fewer, threads wait for each other."""


@dataclass(frozen=True)
class Hardware:
    """The device, torch's threads and the kind of loader, as they were named; each is resolved when it is first read.

    Only then torch is imported: a wrong option, and a finished run that is asked for again, need none of them.

    Attributes:
        device_name: "auto", "cpu", "cuda" or "cuda:N".
        loader_name: "auto", "ffcv", "mmap" or "memory".
        num_threads: torch threads on the CPU; None: chosen.
        data: the dataset, by whose size "auto" chooses a loader.
        recipe_threads: the recipe's number of torch threads; 0: it names none.
        batch_flops: operations of a forward pass of a batch through the largest of the recipe's networks.
        is_remote: whether the names are for workers elsewhere, which resolve them; "auto" stays "auto" here.
    """

    device_name: str
    loader_name: str
    num_threads: int | None
    data: Dataset = field(repr=False)
    recipe_threads: int = 0
    batch_flops: Callable[[], int] = field(default=lambda: THREAD_FLOPS, repr=False)
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
        """Torch threads on the CPU; part of the reproducibility contract.

        Where none were named: the recipe's, at most the cores that this process may use; else torch's own, at most those,
        and one for each `THREAD_FLOPS` of a batch. The load of the machine does not count, so that the number is the same
        when a command resumes.
        """
        if self.num_threads or (self.is_remote and self.recipe_threads):
            return self.num_threads or self.recipe_threads
        cpus = available_cpus()
        if self.recipe_threads:
            return min(self.recipe_threads, cpus)
        import torch

        threads = min(torch.get_num_threads(), cpus)
        if threads == 1 or self.is_remote or self.device.type != "cpu":
            return threads
        return min(threads, max(1, self.batch_flops() // THREAD_FLOPS))
