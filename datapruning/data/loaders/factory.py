"""The device and the loader that "auto" stands for."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, UnknownName
from datapruning.utils.processes import num_processes

if TYPE_CHECKING:
    import torch

    from datapruning.data.loaders.loader import Loader

LOADERS = ("auto", "ffcv", "mmap", "memory")
MIN_FFCV_BYTES = 2**24
"""Bytes of data in memory, below which writing a cache takes longer (4 s, to import FFCV) than it could ever save."""


def check_names(device: str, loader: str) -> None:
    """Refuse what is the name of no device or loader; torch is not asked whether the device is there.

    Raises:
        InvalidValue, UnknownName: see `resolve_device` and `resolve_loader`.
    """
    if not re.fullmatch(r"auto|(cpu|cuda)(:(0|[1-9]\d?))?", device):
        raise InvalidValue(f"device '{device}' is not one of auto, cpu, cuda, cuda:N", parameter="device")
    if loader not in LOADERS:
        raise UnknownName("loader", loader, LOADERS)


def resolve_device(name: str) -> torch.device:
    """The device of "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        InvalidValue: there is no such device.
    """
    check_names(name, "auto")
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidValue("torch finds no GPU for the device 'cuda'; use cpu", parameter="device")
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.index is not None and device.index >= max(count, 1):
        raise InvalidValue(f"there is no {name}: the devices here are cpu{_gpu_names(count)}", parameter="device")
    if device.type == "cuda" and num_processes() > 1:
        if device.index is not None:
            raise InvalidValue(f"under torchrun each process takes a GPU of its own: the device is cuda, not {name}")
        torch.cuda.set_device(gpu_of_process(os.environ, count))
    return device


def gpu_of_process(variables: Mapping[str, str], count: int) -> int:
    """The GPU of this process, of the `count` that it can see, by the variables of its launcher.

    Processes of one machine take one after the other. Where a launcher shows each process a single GPU, that is its own,
    whatever its local rank; where there are fewer GPUs than processes, they share them.
    """
    return int(variables.get("LOCAL_RANK", "0")) % count


def _gpu_names(count: int) -> str:
    return "" if not count else " and cuda:0" if count == 1 else f" and cuda:0 to cuda:{count - 1}"


def resolve_loader(name: str, dataset: Dataset, device: torch.device) -> str:
    """Turn "auto" into a loader: "memory" on a GPU whose free memory holds the data four times over, else "mmap" for
    images from files, which are cached decoded on the disk, else "ffcv" where it is installed and there is more data than
    `MIN_FFCV_BYTES`, else "memory"; on a GPU "mmap", which leaves the data in the machine's memory.

    Raises:
        UnknownName: no such loader.
    """
    check_names("auto", name)
    if name != "auto":
        return name
    size = dataset.train.images.nbytes + dataset.test.images.nbytes
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        if free > 4 * size:
            return "memory"
    if dataset.content_hash:
        return "mmap"
    if size >= MIN_FFCV_BYTES and importlib.util.find_spec("ffcv"):
        return "ffcv"
    return "mmap" if device.type == "cuda" else "memory"


def open_loader(dataset: Dataset, role: str, kind: str, device: torch.device, cache_root: Path) -> Loader:
    """The loader of the split `role` ("train" or "test"); FFCV's writes the cache first if it is missing."""
    from datapruning.data.loaders.split_loaders import InMemoryLoader, MmapLoader

    if kind == "memory":
        return InMemoryLoader(dataset.split(role), device)
    if kind == "mmap":
        return MmapLoader(dataset.split(role), device)
    from datapruning.data.loaders.ffcv import FFCVLoader
    from datapruning.data.loaders.ffcv_cache import ensure_cache

    return FFCVLoader(ensure_cache(dataset, role, cache_root), dataset.split(role).labels, device)
