"""What of torch is replaced while there is a pretend GPU: `torch.cuda`, `torch.autocast`, devices without a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.optim.optimizer import _foreach_supported_types as optimizer_foreach_types
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _foreach_supported_types as foreach_types
from torch.utils._pytree import tree_map

from tests.pretend_gpu.graphs import Generator
from tests.pretend_gpu.streams import stream_functions

MEMORY_BYTES = 80 << 30
BF16_FUNCTIONS = (
    "conv1d", "conv2d", "conv3d", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "__matmul__",
    "scaled_dot_product_attention",
)  # fmt: skip
"""Functions that autocast computes in bfloat16."""


class NumberedDevices(TorchFunctionMode):
    """Replaces "cuda" by "cuda:0" in every call, before torch asks a driver for the current device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        if getattr(func, "__name__", "") == "cuda" and isinstance(args[0], Tensor):
            return args[0].to(self._device, non_blocking=kwargs.get("non_blocking", False))
        return func(*map(self._numbered, args), **{key: self._numbered(value) for key, value in kwargs.items()})

    def _numbered(self, value: Any) -> Any:
        if not isinstance(value, torch.device | str) or not str(value).startswith("cuda"):
            return value
        if torch.device(value).index not in (None, self._device.index):
            raise RuntimeError("CUDA error: invalid device ordinal")
        return self._device


class CastToBF16(TorchFunctionMode):
    """What `torch.autocast("cuda", torch.bfloat16)` does to convolutions and matrix products; a weight is cast once."""

    def __init__(self, tensor_class: type[Tensor]) -> None:
        super().__init__()
        self._tensor_class = tensor_class
        self._weights: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = (args, kwargs or {})
        if getattr(func, "__name__", "") in BF16_FUNCTIONS:
            args, kwargs = tree_map(self._cast, args), tree_map(self._cast, kwargs)
        return func(*args, **kwargs)

    def _cast(self, value: Any) -> Any:
        if not isinstance(value, self._tensor_class) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        if id(value) not in self._weights:
            self._weights[id(value)] = (value, value.to(torch.bfloat16))
        return self._weights[id(value)][1]


@contextmanager
def patched_torch(
    device: torch.device, tensor_class: type[Tensor], on_wait: Callable[[str], None], graphs: dict[str, Any]
) -> Iterator[None]:
    """While open, torch.cuda reports one GPU, `device`, whose tensors are of `tensor_class`.

    `on_wait` is told the function of torch.cuda in which the host waits for it; `graphs` replaces more of torch.cuda.
    """
    generator = Generator()
    autocast = torch.autocast
    group_tensors = torch._C._group_tensors_by_device_and_dtype

    def autocast_here(
        device_type: str, dtype: Any = None, enabled: bool = True, **options: Any
    ) -> AbstractContextManager[Any]:
        if device_type != "cuda":
            return autocast(device_type, dtype=dtype, enabled=enabled, **options)
        return CastToBF16(tensor_class) if enabled else nullcontext()

    def group_here(*args: Any) -> Any:  # it is compiled code that reads a tensor's own device, which is "meta"
        return {(device if kind.type == "meta" else kind, dtype): v for (kind, dtype), v in group_tensors(*args).items()}

    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "get_device_name": lambda *_: "pretend GPU",
        "get_device_capability": lambda *_: (9, 0),
        "is_bf16_supported": lambda *_, **__: True,
        "mem_get_info": lambda *_: (MEMORY_BYTES, MEMORY_BYTES),
        "default_generators": (generator,),
        "get_rng_state": lambda *_: generator.get_state(),
        "set_rng_state": lambda state, *_: generator.set_state(state),
        "manual_seed_all": generator.manual_seed,
        **stream_functions(on_wait),
        **graphs,
    }
    with ExitStack() as stack:

        def patch(target: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(target, name, value, create=True))

        for name, value in cuda.items():
            patch(torch.cuda, name, value)
        for name in ("_cuda_graph_capture_health_check", "_accelerator_graph_capture_health_check"):
            patch(torch.optim.Optimizer, name, lambda self: None)
        for types in (foreach_types, optimizer_foreach_types):
            types.append(tensor_class)
            stack.callback(types.remove, tensor_class)
        patch(torch, "autocast", autocast_here)
        patch(torch._C, "_group_tensors_by_device_and_dtype", group_here)
        # torch.tensor(..., device=...) is then a copy from host to device that a dispatch mode sees
        lifted_on_host = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted_on_host)
        stack.enter_context(NumberedDevices(device))
        yield
