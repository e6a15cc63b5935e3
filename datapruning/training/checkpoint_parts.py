"""What a checkpoint holds beside network and optimiser: the parts of a training that have states, of every process."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from datapruning.errors import IncompatibleInputs
from datapruning.training.distributed import collectives
from datapruning.training.state import Checkpointed, TrainState
from datapruning.utils.processes import num_processes, rank


def part_tensors(parts: Sequence[Checkpointed], sums: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The tensors of a checkpoint: of every part in every process, and `sums` of an epoch that has not ended."""
    sums = sums or {}
    tensors = {**_tensors(parts), **sums}
    if num_processes() > 1:
        local = {**_tensors([part for part in parts if part.per_process]), **sums}
        for number, others in list(enumerate(collectives.gather_tensors(local)))[1:]:
            tensors |= {f"{_prefix(number)}{name}": value for name, value in others.items()}
    return tensors


def restore_parts(parts: Sequence[Checkpointed], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give every part its state; returns the tensors as this process has them."""
    prefix = _prefix(rank())
    local = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    for part in parts:
        part.restore(local if part.per_process and rank() else tensors)
    return {**tensors, **local}


def check_resumable(path: Path, saved: TrainState, current: TrainState) -> None:
    """Refuse to resume where the steps would not be those of a training that was never stopped.

    Raises:
        IncompatibleInputs: the checkpoint at `path` is of another device, precision or number of processes.
    """
    for name in ("device", "precision"):
        recorded, requested = getattr(saved, name), getattr(current, name)
        if recorded != requested:
            raise IncompatibleInputs(
                f"{path} was saved by a training with the {name} {recorded}, not {requested}, which rounds otherwise: "
                f"resume with {recorded}, or delete it to train from the beginning"
            )
    if saved.processes != num_processes():
        count = saved.processes
        raise IncompatibleInputs(
            f"{path} was saved by {count} process{'es' * (count > 1)}, not {num_processes()}: resume with as many "
            "(torchrun's nproc_per_node), or delete it to train from the beginning"
        )


def _tensors(parts: Sequence[Checkpointed]) -> dict[str, Tensor]:
    return {name: tensor for part in parts for name, tensor in part.tensors().items()}


def _prefix(process: int) -> str:
    """What the names of the tensors of a process begin with in a checkpoint; those of process 0 have their plain names."""
    return f"process-{process}."
