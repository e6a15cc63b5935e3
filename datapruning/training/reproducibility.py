"""The reproducibility contract's surroundings: thread count, deterministic kernels, precision. All put back afterwards."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from datapruning.errors import InvalidValue, first_line

COMPILER = ("torch._dynamo", "torch._inductor")
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


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """bf16 where `precision` says so ("auto": on a GPU), else nothing."""
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
