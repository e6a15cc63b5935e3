"""Between the processes of one run: messages from process 0 to all others, tensors between it and each of them.

Messages are JSON and raw arrays, so no process runs what another one sends. Everything goes over gloo but what belongs on
GPUs, which goes over NCCL where each process has a GPU of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

IDLE_TIMEOUT = timedelta(days=30)
"""How long the others wait for what to do next: process 0 may have hours of work of its own. That it died shows at once."""
WORK_TIMEOUT = timedelta(minutes=10)
"""How long a process waits for another one in the middle of common work."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Message:
    """What is to be done: `op` names it, `about` is plain data, `arrays` are by name."""

    op: str
    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


class Channel:
    """Joins the processes that torchrun started. All of them make one, at the same time."""

    def __init__(self) -> None:
        dist.init_process_group("gloo", timeout=IDLE_TIMEOUT)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device = torch.device("cpu")
        self.group: Any = dist.new_group(backend="gloo", timeout=WORK_TIMEOUT)

    def use(self, device: torch.device, nccl: bool) -> None:
        """From here on tensors belong on `device`. All processes call it, with the same `nccl`."""
        if nccl and self.device.type == "cpu":
            self.group, self.device = dist.new_group(backend="nccl", timeout=WORK_TIMEOUT), device

    def send_message(self, op: str, about: Mapping[str, Any], arrays: Arrays | None = None) -> None:
        """Process 0: send a message to all others."""
        arrays = {name: np.ascontiguousarray(each) for name, each in (arrays or {}).items()}
        kinds = {name: [each.dtype.str, list(each.shape)] for name, each in arrays.items()}
        text = json.dumps({"op": op, "about": about, "arrays": kinds}).encode()
        content = b"".join([text, *(each.tobytes() for each in arrays.values())])
        dist.broadcast(torch.tensor([len(text), len(content)]), 0)
        dist.broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8), 0)

    def receive_message(self) -> Message:
        """The others: wait for a message, however long."""
        sizes = torch.zeros(2, dtype=torch.int64)
        dist.broadcast(sizes, 0)
        length, total = sizes.tolist()
        content = torch.zeros(total, dtype=torch.uint8)
        dist.broadcast(content, 0)
        data = content.numpy().tobytes()
        head, place, arrays = json.loads(data[:length]), length, {}
        for name, (kind, shape) in head["arrays"].items():
            values = np.frombuffer(data, np.dtype(kind), int(np.prod(shape)), place)
            arrays[name], place = values.reshape(shape).copy(), place + values.nbytes
        return Message(head["op"], head["about"], arrays)

    def signal(self, go: bool) -> None:
        """Process 0: the next update comes, or the epoch is over before its end."""
        dist.broadcast(torch.tensor([int(go)]), 0)

    def await_signal(self) -> bool:
        """The others: whether the next update comes; however long it takes."""
        go = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(go, 0)
        return bool(go)

    def barrier(self) -> None:
        """Wait until every process is here, however long."""
        dist.barrier()

    def send(self, tensor: Tensor, to: int) -> None:
        """To one process, which knows what comes."""
        dist.send(tensor.detach().to(self.device).contiguous(), to, self.group)

    def receive(self, source: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """From one process: of this shape, type and device as `like`."""
        found = torch.empty(shape, dtype=like.dtype, device=self.device)
        dist.recv(found, source, self.group)
        return found.to(like.device)

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Process 0: give tensors to all others, which know `tensor_specs` them."""
        for tensor in tensors.values():
            dist.broadcast(tensor.detach().to(self.device).contiguous(), 0, self.group)

    def receive_tensors(self, kinds: Mapping[str, Any]) -> dict[str, Tensor]:
        """The others: what process 0 shares, on the device of the channel."""
        found = {}
        for name, (kind, shape) in kinds.items():
            found[name] = torch.empty(shape, dtype=getattr(torch, kind), device=self.device)
            dist.broadcast(found[name], 0, self.group)
        return found

    def close(self) -> None:
        """The run is over."""
        dist.destroy_process_group()


def tensor_specs(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Types and shapes, as plain data."""
    return {name: [str(each.dtype).removeprefix("torch."), list(each.shape)] for name, each in tensors.items()}


def local_processes() -> int:
    """How many processes of the run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def local_device(kind: str) -> torch.device:
    """The device of this process: the GPU of its number on this machine; where there are too few, they are shared."""
    if kind != "cuda":
        return torch.device(kind)
    number = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
