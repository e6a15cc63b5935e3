"""Between the processes of one run: messages from process 0 to all others, tensors between it and each of them.

Messages are JSON and raw arrays, so no process executes what another one sends. Everything goes over gloo except tensors on
GPUs, which go over NCCL where each process has a GPU of its own.
"""

import json
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from datapruning.utils.records import Record, parse_record

IDLE_TIMEOUT = timedelta(days=30)
"""How long the others wait for a message: process 0 may compute for hours alone. If it dies, they notice at once."""
WORK_TIMEOUT = timedelta(minutes=10)
"""How long a process waits for another one in the middle of shared work."""

Arrays = Mapping[str, NDArray[Any]]


class TensorSpec(Record):
    """Type and shape of a tensor or array."""

    dtype: str
    shape: tuple[int, ...]


class Channel:
    """Joins the processes that torchrun started. All of them make one, at the same time."""

    def __init__(self) -> None:
        dist.init_process_group("gloo", timeout=IDLE_TIMEOUT)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.device = torch.device("cpu")
        self.group: Any = dist.new_group(backend="gloo", timeout=WORK_TIMEOUT)

    def use_device(self, device: torch.device, *, nccl: bool) -> None:
        """With `nccl`, tensors are sent from this GPU from now on. All processes call it, with the same `nccl`."""
        if nccl and self.device.type == "cpu":
            self.group, self.device = dist.new_group(backend="nccl", timeout=WORK_TIMEOUT), device

    def send_message(self, content: Record, arrays: Arrays | None = None) -> None:
        """Process 0: send a message to all others, with arrays by name."""
        arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
        specs = {name: TensorSpec(dtype=array.dtype.str, shape=array.shape).to_json() for name, array in arrays.items()}
        header = json.dumps({"kind": type(content).__name__, "content": content.to_json(), "arrays": specs}).encode()
        data = b"".join([header, *(array.tobytes() for array in arrays.values())])
        dist.broadcast(torch.tensor([len(header), len(data)]), 0)
        dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0)

    def receive_message(self, kinds: Iterable[type[Record]]) -> tuple[Record, Arrays]:
        """The others: wait for a message, of one of these classes, with its arrays by name, however long."""
        sizes = torch.zeros(2, dtype=torch.int64)
        dist.broadcast(sizes, 0)
        header_size, size = sizes.tolist()
        received = torch.zeros(size, dtype=torch.uint8)
        dist.broadcast(received, 0)
        data = received.numpy().tobytes()
        header, offset, arrays = json.loads(data[:header_size]), header_size, {}
        for name, value in header["arrays"].items():
            spec = parse_record(TensorSpec, value, "process 0")
            array = np.frombuffer(data, np.dtype(spec.dtype), int(np.prod(spec.shape)), offset)
            arrays[name], offset = array.reshape(spec.shape).copy(), offset + array.nbytes
        kind = {kind.__name__: kind for kind in kinds}[header["kind"]]
        return parse_record(kind, header["content"], "process 0"), arrays

    def signal(self, *, proceed: bool) -> None:
        """Process 0: the next training step comes, or the epoch ends early."""
        dist.broadcast(torch.tensor([int(proceed)]), 0)

    def await_signal(self) -> bool:
        """The others: wait for whether the next training step comes, however long."""
        proceed = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(proceed, 0)
        return bool(proceed)

    def barrier(self) -> None:
        """Wait for every process, however long."""
        dist.barrier()

    def send(self, tensor: Tensor, process: int) -> None:
        """Send a tensor to one process, which knows its shape and type."""
        dist.send(tensor.detach().to(self.device).contiguous(), process, self.group)

    def receive(self, process: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Receive a tensor of this shape, of type and device of `like`, from one process."""
        received = torch.empty(shape, dtype=like.dtype, device=self.device)
        dist.recv(received, process, self.group)
        return received.to(like.device)

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Process 0: send tensors to all others, which have their `tensor_specs`."""
        for tensor in tensors.values():
            dist.broadcast(tensor.detach().to(self.device).contiguous(), 0, self.group)

    def receive_tensors(self, specs: Mapping[str, TensorSpec]) -> dict[str, Tensor]:
        """The others: receive what process 0 broadcasts, on the device of the channel."""
        tensors = {}
        for name, spec in specs.items():
            tensors[name] = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device=self.device)
            dist.broadcast(tensors[name], 0, self.group)
        return tensors

    def close(self) -> None:
        """Leave the group at the end of the run."""
        dist.destroy_process_group()


def tensor_specs(tensors: Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    """Types and shapes of tensors, by name."""
    return {
        name: TensorSpec(dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))
        for name, tensor in tensors.items()
    }


def local_processes() -> int:
    """How many processes of the run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def local_device(kind: str) -> torch.device:
    """The device of this process: the GPU of its number on this machine; processes share GPUs where there are too few."""
    if kind != "cuda":
        return torch.device(kind)
    number = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
