"""The team of a run: how many processes there are, and which loaders the others can open, too.

Process 0 alone runs the command. It decides, reads and writes everything; the others own no file and no state, they take
their rows of training batches and their batches of evaluation passes, and hand back what came out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.loaders.loader import Batch, Loader
from datapruning.errors import DataPruningError, InvalidValue
from datapruning.utils.console import info

if TYPE_CHECKING:
    from datapruning.data.dataset import Dataset
    from datapruning.runs.channel import Channel


@dataclass
class ProcessGroup:
    """The processes of this run, seen from process 0.

    Attributes:
        channel: to the others.
        data_root: `--data-root`, if it was given.
        synchronized: whether the others wait for what to do next, as far as anybody knows.
        opened: how many loaders they have.
    """

    channel: Channel
    data_root: str | None = None
    synchronized: bool = True
    opened: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many processes, this one with them."""
        return self.channel.size


_GROUP: ContextVar[ProcessGroup | None] = ContextVar("team", default=None)


def current_group() -> ProcessGroup | None:
    """The team of this process; None: it works alone."""
    return _GROUP.get()


def set_group(team: ProcessGroup | None) -> None:
    """From here on this process leads that team; None: it works alone."""
    _GROUP.set(team)


def num_processes() -> int:
    """How many processes share the work."""
    team = current_group()
    return team.size if team else 1


class SharedLoader:
    """A loader whose split the other processes can open, too: what is read through it can be dealt.

    Args:
        loader: of this process.
        team: who shares it.
        about: which split it is, as plain data.
        device: where its batches go.
    """

    def __init__(self, loader: Loader, team: ProcessGroup, about: dict[str, Any], device: torch.device) -> None:
        self.loader, self.team, self.about, self.device = loader, team, about, device

    @property
    def kind(self) -> str:
        """See `Loader`."""
        return self.loader.kind

    def __len__(self) -> int:
        return len(self.loader)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """In this process alone; see `Loader`."""
        return self.loader.read(batches)

    def opened(self) -> int:
        """The number under which the others have it; they open it first if they have not.

        Raises:
            InvalidValue: a GPU by number. DataPruningError: an error has left the others in the middle of something.
        """
        team, key = self.team, repr(self.about)
        if not team.synchronized:
            raise DataPruningError("the processes are out of step after an error; give the same command again")
        if key not in team.opened:
            nccl = self._meet_on_devices()
            team.opened[key] = len(team.opened)
            team.channel.send_message(
                "open", {**self.about, "number": team.opened[key], "device": self.device.type, "nccl": nccl}
            )
            team.channel.use(self.device, nccl)
            team.channel.barrier()
        return team.opened[key]

    def _meet_on_devices(self) -> bool:
        """Whether tensors go from GPU to GPU."""
        if self.device.type != "cuda":
            return False
        from datapruning.runs.channel import local_processes

        if self.device.index not in (None, 0):
            raise InvalidValue(f"under torchrun process k takes GPU k: say --device cuda, not {self.device}")
        here, gpus = local_processes(), torch.cuda.device_count()
        if here > gpus and not self.team.opened:
            info(f"{here} processes share {gpus} GPU{'s' * (gpus > 1)}: that is slower than one process for each")
        return here <= gpus


def share_loader(loader: Loader, data: Dataset, role: str, root: Path, device: torch.device) -> Loader:
    """The loader as one that the team shares; the loader itself where this process works alone."""
    team = current_group()
    if team is None:
        return loader
    about = {
        "place": data.source or data.name, "data_root": team.data_root, "workspace": str(root.resolve()), "role": role,
        "kind": loader.kind, "fingerprint": data.fingerprint, "name": data.name,
    }  # fmt: skip
    return SharedLoader(loader, team, about, device)
