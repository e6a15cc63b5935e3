"""CUDA graphs of the pretend GPU: a capture records operations without effect, and a replay runs them on the same memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.pretend_gpu.operations import NO_KERNEL

NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing"
INVALIDATED = "CUDA error: operation failed due to a previous error during capture"


class Operation(NamedTuple):
    """A call of torch's dispatcher with operands on the host, and what it returned."""

    func: Any
    args: Any
    kwargs: Any
    results: list[Any]


class CUDAGraph:
    """In the place of `torch.cuda.CUDAGraph`."""

    launches: Any = None
    """The counter of kernels, and a function that names the line at hand; set by `graph_functions`."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def record(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation of a capture; what it changes is put back at the end."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            # the schema of batch norm does not say that it changes its running statistics
            if (argument.alias_info is not None and argument.alias_info.is_write) or argument.name.startswith("running_"):
                for tensor in tree_leaves(value):
                    self._keep(tensor)
        results = func(*args, **kwargs)
        if name not in NO_KERNEL:
            self.operations.append(Operation(func, args, kwargs, tree_leaves(results)))
        return results

    def _keep(self, tensor: Tensor | None) -> None:
        if tensor is None:
            return
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._before:
            content = torch.empty(0, dtype=torch.uint8).set_(storage)
            self._before[storage.data_ptr()] = content, content.clone()

    def undo(self) -> None:
        """Put back what operations of the capture changed."""
        for content, before in self._before.values():
            content.copy_(before)
        self._before.clear()

    @torch.no_grad()
    def replay(self) -> None:
        """Run the operations again: a launch."""
        counter, line = self.launches
        counter()[f"{line()} replay"] += 1
        for func, args, kwargs, results in self.operations:
            for result, repeated in zip(results, tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(result, Tensor) and result is not repeated:
                    result.copy_(repeated)


class Generator:
    """In the place of the generator of a GPU."""

    def __init__(self) -> None:
        self._generator = torch.Generator()

    def manual_seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)

    def get_state(self) -> Tensor:
        return self._generator.get_state()

    def set_state(self, state: Tensor) -> None:
        self._generator.set_state(state)

    def clone_state(self) -> Tensor:
        return self.get_state().clone()

    def graphsafe_set_state(self, state: Tensor) -> None:
        self.set_state(state)


def graph_functions(gpu: Any, calling_line: Any) -> dict[str, Any]:
    """What replaces functions and classes of `torch.cuda`; `gpu` has the graph at hand as `capture`."""
    CUDAGraph.launches = (lambda: gpu.counts.kernels, calling_line)

    @contextmanager
    def capture(graph: CUDAGraph, stream: Any = None, capture_error_mode: str = "global") -> Iterator[None]:
        assert gpu.capture is None
        rng = torch.get_rng_state()
        gpu.capture = graph
        try:
            yield
        except Exception as error:
            graph.operations.clear()
            raise RuntimeError(INVALIDATED) from error
        finally:
            gpu.capture = None
            graph.undo()
            torch.set_rng_state(rng)

    return {"CUDAGraph": CUDAGraph, "graph": capture, "is_current_stream_capturing": lambda: gpu.capture is not None}
