"""The reproducibility contract's surroundings: threads, kernels, precision, random numbers. All put back afterwards."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from datapruning.errors import InvalidValue, first_line
from datapruning.utils.hashing import hash_ids

COMPILER = ("torch._dynamo", "torch._inductor")
STREAM_KEY = 0x57EA3
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Same configuration, same thread count, same machine kind: same bits."""
    num_threads = torch.get_num_threads()
    workspace = os.environ.get(CUBLAS)
    torch.set_num_threads(threads)
    os.environ[CUBLAS] = ":4096:8"  # cuBLAS is deterministic only with a fixed workspace
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.set_num_threads(num_threads)
        if workspace is None:
            del os.environ[CUBLAS]
        else:
            os.environ[CUBLAS] = workspace


class StepRNG:
    """Seeds torch's global generators, which dropout and stochastic depth draw from, for each step of one epoch.

    What a step draws is a pure function of (seed, epoch, step), as views and orders are. So no generator state has to be
    saved, a resumed training draws what it would have drawn, and other draws in between change nothing. On a GPU its own
    generator is seeded, too.
    """

    def __init__(self, device: torch.device, seed: int, epoch: int, steps: int) -> None:
        self._seeds: list[int] = hash_ids(np.arange(steps), STREAM_KEY, seed, epoch).tolist()
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            self._generators.append(torch.cuda.default_generators[index])

    def seed_step(self, step: int) -> None:
        """Seed for the step of this number in the epoch, counted from 0."""
        for generator in self._generators:
            generator.manual_seed(self._seeds[step])


@contextmanager
def isolated_rng(device: torch.device) -> Iterator[None]:
    """While open, the global generators are the training's; afterwards they are as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Use bf16 according to `precision` ("auto": on a GPU)."""
    if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network through torch.compile, sharing its weights: for forward and backward passes in training alone.

    Every shape of a batch has a kernel of its own: which shapes came before must not change the bits.

    Raises (when the first batch comes):
        InvalidValue: the compiler does not work on this machine, or cannot compile this network.
    """
    compiled_model: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)

    def forward(images: Tensor) -> Tensor:
        try:
            return compiled_model(images)
        except Exception as error:
            if not any(kind.__module__.startswith(COMPILER) for kind in type(error).__mro__):
                raise
            raise InvalidValue(f"train.compile: torch.compile fails here ({first_line(error)}); set it to false") from None

    return forward


def model_device(model: nn.Module) -> torch.device:
    """The device of a model's weights."""
    return next(model.parameters()).device
