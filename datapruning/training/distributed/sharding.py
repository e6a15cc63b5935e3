"""Which samples of a batch each process takes: every sample exactly one process, without padding."""

import numpy as np
from numpy.typing import NDArray

from datapruning.config.training import TrainConfig
from datapruning.data.batching import MIN_BATCH_SIZE, batch_sizes, training_batches
from datapruning.errors import InvalidValue
from datapruning.utils.processes import num_processes, rank


def global_batch_size(config: TrainConfig) -> int:
    """Samples per update, of all processes together."""
    return config.effective_batch_size * num_processes()


def global_batch_sizes(count: int, config: TrainConfig) -> list[int]:
    """Sizes of the batches of an epoch of `count` samples; each has 2 samples or more for every process, see `batch_sizes`.

    Raises:
        InvalidValue: too few samples for so many processes.
    """
    processes = num_processes()
    if processes > 1 and count < MIN_BATCH_SIZE * processes:
        raise InvalidValue(
            f"{count} samples are too few for {processes} processes, which take {MIN_BATCH_SIZE} or more each: "
            "start fewer (torchrun's nproc_per_node)"
        )
    return batch_sizes(count, global_batch_size(config), MIN_BATCH_SIZE * processes)


def global_batches(ids: NDArray[np.int64], config: TrainConfig, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The batches of an epoch, of all processes together: every id once, in an order of this seed and epoch.

    Raises:
        InvalidValue: too few samples for so many processes.
    """
    global_batch_sizes(len(ids), config)
    return training_batches(ids, global_batch_size(config), seed, epoch, MIN_BATCH_SIZE * num_processes())


def shard(size: int, process: int, processes: int) -> slice:
    """The rows of a process: contiguous shards in order, whose lengths differ by one at most."""
    return slice(size * process // processes, size * (process + 1) // processes)


def micro_batch_shards(size: int, config: TrainConfig) -> list[slice]:
    """The rows of this process in each micro-batch of a batch of `size` samples: as many micro-batches in every process."""
    processes = num_processes()
    single = config.grad_accum_steps == 1
    sizes = [size] if single else batch_sizes(size, config.batch_size * processes, MIN_BATCH_SIZE * processes)
    starts = np.cumsum([0, *sizes])
    shards = [(int(start), shard(n, rank(), processes)) for start, n in zip(starts, sizes, strict=False)]
    return [slice(start + rows.start, start + rows.stop) for start, rows in shards]


def local_ids(ids: NDArray[np.int64], config: TrainConfig) -> NDArray[np.int64]:
    """The sample ids int64 of a batch that this process trains on."""
    return np.concatenate([ids[rows] for rows in micro_batch_shards(len(ids), config)])
