"""The reproducibility contract's surroundings: threads, kernels, precision, random numbers. All put back afterwards."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear

from datapruning.config.training import TrainConfig
from datapruning.errors import InvalidValue, first_line
from datapruning.models.features import linear_layers
from datapruning.utils.hashing import hash_ids

Precision = Literal["fp32", "bf16"]
COMPILER = ("torch._dynamo", "torch._inductor")
STREAM_KEY = 0x57EA3
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
MAX_COMPILATIONS = 10**6
"""Of one network's code in a process."""


@contextmanager
def reproducible(threads: int, training: TrainConfig | None = None) -> Iterator[None]:
    """Same configuration, same thread count, same machine kind: same bits.

    Of `training`, the settings of the networks at work (None: the defaults), two matter. With the precision "fp32" a GPU
    rounds nothing to TF32, which convolutions of evaluation passes use otherwise. With `deterministic` torch refuses every
    algorithm that it knows to give other bits the next time, and attention, whose fused kernels it lets pass, is computed by
    plain matrix products.
    """
    tf32 = training is None or training.precision != "fp32"
    num_threads = torch.get_num_threads()
    workspace = os.environ.get(CUBLAS)
    torch.set_num_threads(threads)
    os.environ[CUBLAS] = ":4096:8"  # cuBLAS is deterministic only with a fixed workspace
    try:
        flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32)
        with flags, _deterministic_algorithms() if training and training.deterministic else nullcontext():
            yield
    finally:
        torch.set_num_threads(num_threads)
        if workspace is None:
            del os.environ[CUBLAS]
        else:
            os.environ[CUBLAS] = workspace


@contextmanager
def _deterministic_algorithms() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


class StepRNG:
    """Seeds torch's global generators, which dropout and stochastic depth draw from, for each step of one epoch.

    What a step draws is a pure function of (seed, epoch, step), as views and orders are. So no generator state has to be
    saved, a resumed training draws what it would have drawn, and other draws in between change nothing. Each process of
    several draws other numbers. On a GPU its own generator is seeded, too.
    """

    def __init__(self, device: torch.device, seed: int, epoch: int, steps: int, process: int = 0) -> None:
        key = (STREAM_KEY, seed, epoch, *([process] if process else []))
        self._seeds: list[int] = hash_ids(np.arange(steps), *key).tolist()
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


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """What training passes are computed in, of "auto", "fp32" or "bf16"."""
    return "bf16" if precision == "bf16" or (precision == "auto" and device.type == "cuda") else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Use bf16 according to `precision` ("auto": on a GPU)."""
    if resolve_precision(precision, device) == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


@contextmanager
def fp32_logits(model: nn.Module, precision: str) -> Iterator[None]:
    """In a bf16 training, compute the network's last linear layer in fp32.

    bf16 has 8 significant bits: logits of 8 and 8.03 are equal in it, and what is recorded of them (margins, whether a
    sample is right) is decided by ties.
    """
    layers = linear_layers(model)[-1:] if resolve_precision(precision, model_device(model)) == "bf16" else []
    for layer in layers:
        layer.forward = partial(_fp32_linear, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _fp32_linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return linear(inputs.float(), layer.weight, layer.bias)


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network through torch.compile, sharing its weights: for forward and backward passes in training alone.

    Every shape of a batch has a kernel of its own: which shapes came before must not change the bits. torch would give up
    compiling after 8 networks or shapes in a process, with no more than a line in its log; here there is no such limit.

    Raises (when the first batch comes):
        InvalidValue: the compiler does not work on this machine, or cannot compile this network.
    """
    compiled_model: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    unlimited = dict.fromkeys(("recompile_limit", "accumulated_recompile_limit"), MAX_COMPILATIONS)

    def forward(images: Tensor) -> Tensor:
        try:
            with torch._dynamo.config.patch(unlimited):
                return compiled_model(images)
        except Exception as error:
            if not any(kind.__module__.startswith(COMPILER) for kind in type(error).__mro__):
                raise
            raise InvalidValue(f"train.compile: torch.compile fails here ({first_line(error)}); set it to false") from None

    return forward


def model_device(model: nn.Module) -> torch.device:
    """The device of a model's weights."""
    return next(model.parameters()).device
