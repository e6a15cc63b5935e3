"""The tensors of the pretend GPU: a subclass of torch's, which sends every operation to `PretendGPU.run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

CUDA = torch.device("cuda", 0)


class WrongDevice(RuntimeError):
    """An operation that a GPU would refuse; torch raises a plain RuntimeError."""


class DeviceTensor(Tensor):
    """A tensor on the pretend GPU; `host` holds its values, in the same shape, strides and dtype."""

    host: Tensor
    run: ClassVar[Callable[[Any, Any, Any], Any] | None] = None
    """Runs an operation of torch's dispatcher, with its arguments and keyword arguments; set by `PretendGPU`."""

    @staticmethod
    def __new__(cls, host: Tensor) -> DeviceTensor:
        meta = torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device="meta")
        tensor: DeviceTensor = torch.Tensor._make_subclass(cls, meta)
        tensor.host = host
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def get_device(self) -> int:
        return 0

    def __repr__(self) -> str:  # type: ignore[override]
        return f"DeviceTensor({list(self.shape)}, {self.dtype})"

    def record_stream(self, _: Any) -> None:
        """Streams of the pretend GPU have no work left."""

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> NoReturn:
        raise WrongDevice(f"can't convert {CUDA} device type tensor to numpy: copy it to the host first, with Tensor.cpu()")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self.numpy()

    def __deepcopy__(self, memo: Any) -> DeviceTensor:
        copied: DeviceTensor = self.detach().clone().requires_grad_(self.requires_grad)  # type: ignore[assignment]
        return copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        assert cls.run is not None, "a tensor of the pretend GPU is used outside of it"
        return cls.run(func, args, kwargs or {})
