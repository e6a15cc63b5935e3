"""A pretend GPU: tensors that report the device cuda:0, hold their values in host memory, and follow CUDA's rules.

Every operation is computed on the CPU, so results are real. What a GPU refuses is refused (operands on two devices,
`.numpy()` of a tensor on the device), and what costs time there is counted by the line of the package that asked for it
(`Counts`).

    with PretendGPU() as gpu:
        train(device="cuda")
    print(gpu.counts.report())

It relies on private hooks of torch: see `KNOWN_TORCH_VERSIONS`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import datapruning
from tests.pretend_gpu.counts import Counts, calling_line
from tests.pretend_gpu.device_tensor import CUDA, DeviceTensor, WrongDevice
from tests.pretend_gpu.graphs import NOT_PERMITTED, CUDAGraph, graph_functions
from tests.pretend_gpu.operations import (
    INDEXING,
    METADATA,
    NO_HOST_SCALARS,
    NO_KERNEL,
    NOT_DETERMINISTIC,
    is_composite,
    synchronizes,
)
from tests.pretend_gpu.patches import patched_torch

KNOWN_TORCH_VERSIONS = ("2.11", "2.13", "2.15")
"""Versions that these tests were run with."""


def torch_is_known() -> bool:
    """Whether the pretend GPU was tried with this version of torch."""
    return ".".join(torch.__version__.split(".")[:2]) in KNOWN_TORCH_VERSIONS


class DispatchToGPU(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sends every operation through `PretendGPU.run`, also those that have no tensor yet."""

    def __init__(self, gpu: PretendGPU) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._gpu.run(func, args, kwargs or {})


class PretendGPU:
    """While open, torch has one GPU, cuda:0; `counts` says what was asked of it."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.capture: CUDAGraph | None = None
        self._pinned: dict[int, Tensor] = {}
        self._stack = ExitStack()

    def __enter__(self) -> PretendGPU:
        assert DeviceTensor.run is None, "there is one pretend GPU"
        DeviceTensor.run = self.run
        graphs = graph_functions(self, calling_line)
        self._stack.enter_context(patched_torch(CUDA, DeviceTensor, self._count_sync, graphs))
        # a thread that reads data has none of the modes of this one
        self._stack.enter_context(mock.patch.object(Tensor, "pin_memory", lambda tensor: self._pin(tensor.clone())))
        self._stack.enter_context(DispatchToGPU(self))
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()
        DeviceTensor.run = None
        clear_device_caches()

    def _count_sync(self, operation: str) -> None:
        self._refuse_in_capture(operation, calling_line())
        self.counts.syncs[f"{calling_line()} {operation}"] += 1

    def _refuse_in_capture(self, operation: str, place: str) -> None:
        """Refuse what has no place in a CUDA graph: that the host waits, and copies from and to its memory."""
        if self.capture is not None:
            raise RuntimeError(f"{NOT_PERMITTED} ({operation}, {place})")

    def _run_on_gpu(self, name: str, func: Any, args: Any, kwargs: Any, place: str) -> Any:
        """An operation with operands in host memory, as the GPU's: at once, or recorded."""
        if self.capture is not None:
            return self.capture.record(name, func, args, kwargs)
        if name not in NO_KERNEL and name != "_local_scalar_dense":
            self.counts.kernels[f"{place} {name}"] += 1
        return func(*args, **kwargs)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation of torch's dispatcher, on the CPU or on the pretend GPU, wherever its tensors are."""
        name = func.overloadpacket.__name__
        flat, structure = tree_flatten((args, kwargs))
        device_tensors = [value for value in flat if isinstance(value, DeviceTensor)]
        device = kwargs.get("device")
        kind = None if device is None else torch.device(device).type
        # torch itself asks for "meta" where it makes a tensor on the device of a DeviceTensor
        makes_on_gpu = kind == "cuda" or (kind == "meta" and (bool(device_tensors) or not _meta_is_default()))
        if not device_tensors and not makes_on_gpu:
            return self._run_on_host(func, name, args, kwargs)
        if is_composite(func):
            with DispatchToGPU(self):
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        place = calling_line()
        if name == "_to_copy":
            return self._to_copy(func, args[0], kwargs, place)
        if name == "copy_":
            return self._copy_(func, *args, place=place, **kwargs)
        if name in METADATA:
            return func(*tree_map(_host, args), **tree_map(_host, kwargs))
        self._check_devices(name, args, [value for value in flat if _is_on_host(value)], place)
        if name in NOT_DETERMINISTIC and torch.are_deterministic_algorithms_enabled():
            raise RuntimeError(f"{name} does not have a deterministic implementation, but you set deterministic algorithms")
        if synchronizes(func, name, args, kwargs):
            self._refuse_in_capture(name, place)
            self.counts.syncs[f"{place} {name}"] += 1
        host_args, host_kwargs = tree_unflatten([_host(value) for value in flat], structure)
        if makes_on_gpu:
            host_kwargs = {**host_kwargs, "device": torch.device("cpu")}
        return _on_gpu(name, self._run_on_gpu(name, func, host_args, host_kwargs, place), device_tensors)

    def _run_on_host(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """An operation without tensors of the GPU; it keeps account of pinned memory, which a CPU has none of."""
        if name == "is_pinned":
            return self._is_pinned(args[0])
        if not kwargs.get("pin_memory"):
            return func(*args, **kwargs)
        return self._pin(func(*args, **{**kwargs, "pin_memory": False}))

    def _pin(self, tensor: Tensor) -> Tensor:
        self._pinned[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no other tensor gets its address
        return tensor

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _check_devices(self, name: str, args: Any, on_host: Sequence[Tensor], place: str) -> None:
        """Refuse operands on the host, but for scalars where kernels take them, and indices, which are copied."""
        scalars_refused = name.startswith("_fused") or name in NO_HOST_SCALARS
        wrong = [tensor for tensor in on_host if tensor.dim() or scalars_refused]
        if wrong and name in INDEXING and all(any(tensor is index for index in args[1]) for tensor in wrong):
            for tensor in wrong:
                self._upload(f"{place} {name}", tensor, blocking=True)
        elif wrong:
            raise WrongDevice(f"Expected all tensors on one device, but found {CUDA} and cpu! ({name}, {place})")

    def _to_copy(self, func: Any, source: Tensor, kwargs: Any, place: str) -> Tensor:
        """A copy on another device, or in another dtype or memory format."""
        device, blocking = kwargs.get("device"), not kwargs.get("non_blocking", False)
        kwargs = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking", "pin_memory")}
        to_gpu = device is None or torch.device(device).type != "cpu"
        if device is not None and to_gpu and isinstance(source, DeviceTensor) and _keeps_format(source, **kwargs):
            return DeviceTensor(source.host.detach())  # torch gives the tensor itself; it does not know that it is there
        if not to_gpu:
            self._refuse_in_capture("to_host", place)
        if not to_gpu and blocking:
            self.counts.syncs[f"{place} to_host"] += 1
        elif not to_gpu:
            return self._pin(func(_host(source), **kwargs).clone())
        elif isinstance(source, DeviceTensor):
            return DeviceTensor(self._run_on_gpu("_to_copy", func, (source.host,), kwargs, place))
        else:
            self._upload(f"{place} to_device", source, blocking=blocking)
        copied: Tensor = func(_host(source), **kwargs)
        return DeviceTensor(copied) if to_gpu else copied

    def _copy_(self, func: Any, target: Tensor, source: Tensor, non_blocking: bool = False, *, place: str) -> Tensor:
        """A copy into an existing tensor."""
        if not isinstance(target, DeviceTensor):
            self._refuse_in_capture("copy_to_host", place)
            if not (non_blocking and self._is_pinned(target)):
                self.counts.syncs[f"{place} copy_to_host"] += 1
        elif isinstance(source, DeviceTensor):
            self._run_on_gpu("copy_", func, (target.host, source.host), {}, place)
            return target
        else:
            self._upload(f"{place} copy_to_device", source, blocking=not non_blocking)
        func(_host(target), _host(source))
        return target

    def _upload(self, place: str, tensor: Tensor, *, blocking: bool) -> None:
        self._refuse_in_capture("upload", place)
        if blocking:
            self.counts.syncs[place] += 1
        if not self._is_pinned(tensor):
            self.counts.uploads[place] += 1
            self.counts.upload_bytes[place] += tensor.numel() * tensor.element_size()


def clear_device_caches() -> None:
    """Empty the caches of the package's functions of a device: a real cuda:0 must not get tensors of the pretend one."""
    for name, module in list(sys.modules.items()):
        for function in vars(module).values() if name.startswith(datapruning.__name__) else ():
            if hasattr(function, "cache_clear") and "device" in inspect.signature(function).parameters:
                function.cache_clear()


def _on_gpu(name: str, result: Any, device_tensors: Sequence[DeviceTensor]) -> Any:
    """The results as tensors of the GPU; an operand that was changed in place is itself."""
    operands = {id(tensor.host): tensor for tensor in device_tensors}
    is_view = name in NO_KERNEL and not all(tensor.is_inference() for tensor in device_tensors)

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if (operand := operands.get(id(value))) is not None:
            assert operand.shape == value.shape, f"{name} in place changes a shape, which the pretend GPU cannot do"
            return operand
        with torch.inference_mode(torch.is_inference_mode_enabled() and not is_view):  # a view is what its base is
            return DeviceTensor(value)

    return tree_map(wrap, result)


def _keeps_format(
    source: Tensor, dtype: torch.dtype | None = None, memory_format: torch.memory_format | None = None, **_: Any
) -> bool:
    return dtype in (None, source.dtype) and memory_format in (None, torch.preserve_format)


def _meta_is_default() -> bool:
    """Whether somebody asked for torch's own meta device: `with torch.device("meta")`."""
    modes = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return any(isinstance(mode, DeviceContext) for mode in modes)


def _is_on_host(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, DeviceTensor)


def _host(value: Any) -> Any:
    return value.host if isinstance(value, DeviceTensor) else value
