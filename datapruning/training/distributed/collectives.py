"""What the processes of one training exchange: gradients after every backward pass, tables and states once in a while."""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from datapruning.data.loaders.loader import Batch
from datapruning.training.inference import ForwardPass, local_outputs
from datapruning.utils.console import info
from datapruning.utils.processes import is_main, num_processes, rank

MAX_NAME = 256
"""Bytes of the name of a GPU."""
WORK_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for another one in the middle of common work, which hangs; a death is noticed at once."""


def sum_gradients(model: nn.Module, share: float, loss: Tensor) -> Tensor:
    """Sum the gradients of all processes, in place; returns the sum of their losses, a scalar.

    Every process calls it after its backward passes, with a loss that is already weighted by its `share` of the batch; so
    the gradient is that of the mean over the whole batch, whatever the sizes of the shards. Running statistics of batch
    norms become the mean of all processes, weighted by their shares. One all-reduce of one flat tensor: afterwards all
    networks have the same bits, in the same order of additions each time. A weight without a gradient gets one of zeros.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    tensors = [*gradients, *(buffer * share for buffer in buffers), loss.detach().to(weights[0].dtype)]
    summed = all_reduce(torch.cat([tensor.reshape(-1) for tensor in tensors]))
    parts = torch.split(summed, [tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for target, part in zip([*gradients, *buffers], parts, strict=False):
            target.copy_(part.view(target.shape))
    return parts[-1][0]


def all_reduce(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes; the tensor itself may be overwritten."""
    group, device = _data_group(tensor.device)
    summed = tensor.detach().to(device)
    dist.all_reduce(summed, group=group)
    return summed.to(tensor.device)


def all_gather(tensor: Tensor) -> list[Tensor]:
    """The tensors of all processes, in their order; all have one shape."""
    group, device = _data_group(tensor.device)
    local = tensor.detach().to(device).contiguous()
    gathered = [torch.empty_like(local) for _ in range(num_processes())]
    dist.all_gather(gathered, local, group=group)
    return [part.to(tensor.device) for part in gathered]


def gather_rows(ids: NDArray[np.int64], rows: Tensor) -> tuple[NDArray[np.int64], Tensor]:
    """Ids int64 [n] and rows [n, ...] of all processes, one after the other; with one process, those given."""
    if num_processes() == 1:
        return ids, rows
    counts = [int(count) for count in all_gather(torch.tensor([len(ids)]))]
    padded_ids, padded = np.zeros(max(counts), np.int64), rows.new_zeros(max(counts), *rows.shape[1:])
    padded_ids[: len(ids)], padded[: len(ids)] = ids, rows
    all_ids, all_rows = all_gather(torch.from_numpy(padded_ids)), all_gather(padded)
    pairs = list(zip(counts, all_ids, all_rows, strict=True))
    return np.concatenate([part[:n].numpy() for n, part, _ in pairs]), torch.cat([part[:n] for n, _, part in pairs])


def gather_tensors(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors by name of each process, on the CPU; in process 0 alone, the others get none."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    sizes = [int(size) for size in all_gather(torch.tensor([len(content)]))]
    padded = torch.frombuffer(bytearray(content.ljust(max(sizes), b"\0")), dtype=torch.uint8)
    gathered = [torch.empty_like(padded) for _ in sizes] if is_main() else None
    dist.gather(padded, gathered, group=_gloo_group())
    return [load(part[:size].numpy().tobytes()) for part, size in zip(gathered or [], sizes, strict=False)]


def broadcast_state(model: nn.Module) -> None:
    """Give the network in every process the weights of process 0."""
    for tensor in model.state_dict().values():
        group, device = _data_group(tensor.device)
        sent = tensor.detach().to(device, copy=True)
        dist.broadcast(sent, 0, group=group)
        tensor.copy_(sent)


def sharded_outputs(forward_pass: ForwardPass) -> Iterator[tuple[Batch, list[Tensor]]]:
    """As `local_outputs`, in every process; each computes its share of the batches, which all have one size.

    A batch passes through one network as a whole, so its bits are those of one process. `Batch.images` is empty in batches
    that another process computed.
    """
    count = num_processes()
    batches: Sequence[NDArray[np.int64]] = forward_pass.batches
    groups = [batches[start : start + count] for start in range(0, len(batches), count)]
    # where the last group is short, its last batch again
    local_batches = [group[min(rank(), len(group) - 1)] for group in groups]
    for group, (batch, outputs) in zip(groups, local_outputs(forward_pass._replace(batches=local_batches)), strict=True):
        labels, gathered = all_gather(batch.labels), [all_gather(output) for output in outputs]
        for process, ids in enumerate(group):
            images = batch.images if process == rank() else batch.images[:0]
            yield Batch(images, labels[process], ids), [parts[process] for parts in gathered]


def outputs_of(forward_pass: ForwardPass) -> Callable[[ForwardPass], Iterator[tuple[Batch, list[Tensor]]]]:
    """What computes an evaluation pass: all processes together, or each the whole pass.

    They do not share batches of several sizes, nor a network with hooks, which would miss the passes of the others.
    """
    if num_processes() == 1 or len({len(ids) for ids in forward_pass.batches}) != 1:
        return local_outputs
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in forward_pass.model.modules())
    return local_outputs if hooked else sharded_outputs


def _data_group(device: torch.device) -> tuple[Any, torch.device]:
    """The group that tensors of a device go through, and from which device: NCCL where each process has its own GPU."""
    nccl = _nccl_group() if device.type == "cuda" else None
    return (_gloo_group(), torch.device("cpu")) if nccl is None else (nccl, device)


@cache
def _gloo_group() -> Any:
    return dist.new_group(backend="gloo", timeout=WORK_TIMEOUT)


@cache
def _nccl_group() -> Any:
    gpu = f"{socket.gethostname()} {torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    names = [bytes(name.tolist()) for name in all_gather(torch.tensor(list(gpu.encode()[:MAX_NAME].ljust(MAX_NAME))))]
    if not each_has_its_own(names):
        info(f"{num_processes()} processes share {len(set(names))} GPUs: that is slower than one process for each")
        return None
    return dist.new_group(backend="nccl")


def each_has_its_own(gpus: Sequence[object]) -> bool:
    """Whether no two processes have the same GPU; each has a name for its own, of the machine and the GPU."""
    return len(set(gpus)) == len(gpus)
