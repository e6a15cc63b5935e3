"""The processes of a run, and the loaders that all of them can open.

Process 0 alone runs the command: it decides, reads and writes everything. The others have no files and no state; they
compute their rows of training batches and their batches of evaluation passes, and send the results back.
"""

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.loaders.loader import Batch, Loader
from datapruning.errors import DataPruningError, InvalidValue
from datapruning.utils.console import info
from datapruning.utils.records import Record

if TYPE_CHECKING:
    from datapruning.data.dataset import Dataset
    from datapruning.runs.channel import Channel


class SplitSpec(Record):
    """A split ("train" or "test") of a dataset, for another process to open; `dataset` and `data_root` as in `open_dataset`.

    `workspace` is absolute, `loader` the kind of the loader; `name` names the dataset in messages.
    """

    dataset: str
    data_root: str | None = None
    workspace: str
    split: str
    loader: str
    fingerprint: str
    name: str


class OpenSplit(Record):
    """Message: open a split. With `nccl` tensors are sent from GPU to GPU; `device` is its kind, such as "cuda"."""

    split: SplitSpec
    device: str
    nccl: bool


@dataclass
class ProcessGroup:
    """The processes of this run, seen from process 0.

    `data_root` is the folder of the torchvision datasets, if one was given. `synchronized`: whether the others wait for a
    message, as far as is known. `splits`: those that the others have opened, with their positions in the order of opening.
    """

    channel: "Channel"
    data_root: str | None = None
    synchronized: bool = True
    splits: dict[SplitSpec, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of processes, process 0 included."""
        return self.channel.size


_GROUP: ContextVar[ProcessGroup | None] = ContextVar("process group", default=None)


def current_group() -> ProcessGroup | None:
    """The group that this process leads; None: it is the only process."""
    return _GROUP.get()


def set_group(group: ProcessGroup | None) -> None:
    """Set the group that this process leads."""
    _GROUP.set(group)


def num_processes() -> int:
    """How many processes share the work."""
    group = current_group()
    return group.size if group else 1


class SharedLoader:
    """A loader whose split the other processes can open too, so that they can share the work on its samples.

    `loader` is that of this process, `device` that of its batches.
    """

    def __init__(self, loader: Loader, group: ProcessGroup, split: SplitSpec, device: torch.device) -> None:
        self.loader, self.group, self.split, self.device = loader, group, split, device

    @property
    def kind(self) -> str:
        """See `Loader`."""
        return self.loader.kind

    def __len__(self) -> int:
        return len(self.loader)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """Read in this process alone; see `Loader`."""
        return self.loader.read(batches)

    def open_everywhere(self) -> int:
        """Have the others open the split, unless they have; returns its position among their splits.

        Raises:
            InvalidValue: a GPU by number. DataPruningError: after an error the others do not wait for a message.
        """
        group = self.group
        if not group.synchronized:
            raise DataPruningError("the processes are out of step after an error; give the same command again")
        if self.split not in group.splits:
            nccl = self._use_nccl()
            group.splits[self.split] = len(group.splits)
            group.channel.send_message(OpenSplit(split=self.split, device=self.device.type, nccl=nccl))
            group.channel.use_device(self.device, nccl=nccl)
            group.channel.barrier()
        return group.splits[self.split]

    def _use_nccl(self) -> bool:
        """Whether each process has a GPU of its own."""
        if self.device.type != "cuda":
            return False
        from datapruning.runs.channel import local_processes

        if self.device.index not in (None, 0):
            raise InvalidValue(
                f"under torchrun process k takes GPU k: the device is cuda, not {self.device}", parameter="device"
            )
        processes, gpus = local_processes(), torch.cuda.device_count()
        if processes > gpus and not self.group.splits:
            info(f"{processes} processes share {gpus} GPU{'s' * (gpus > 1)}: that is slower than one process for each")
        return processes <= gpus


def share_loader(loader: Loader, data: "Dataset", split: str, workspace: Path, device: torch.device) -> Loader:
    """The loader as one that all processes share; the loader itself where there is one process."""
    group = current_group()
    if group is None:
        return loader
    spec = SplitSpec(
        dataset=str(data.source or data.name), data_root=group.data_root, workspace=str(workspace.resolve()), split=split,
        loader=loader.kind, fingerprint=data.fingerprint, name=data.name,
    )  # fmt: skip
    return SharedLoader(loader, group, spec, device)
