"""A training step as one CUDA graph (`train.graph`): its operations are recorded once, and repeated with one launch.

The graph is captured by hand. `torch.compile(mode="reduce-overhead")` captures the network alone, without the optimiser,
and with other kernels; here a graph repeats the operations of an eager step, forward pass, loss, backward pass, masks of
the gradient and optimiser, so that its numbers are those of an eager step, and it goes together with `train.compile`,
whose kernels it records.

A graph repeats what the GPU did, on the same memory, and nothing that Python did. So all that changes from step to step is
a tensor: the batch in its view (augmentation stays outside, since the number of mixed images changes), labels, soft labels,
weights, auxiliary batches and the learning rates. Random numbers of dropout follow the generator, which is seeded before
each step. What Python counts stays outside, too, at a launch for all weights: lookahead, masks of the weights, EMA; so do
recording and the sums of an epoch, which read the step's outputs before the next one overwrites them.

The first steps of a kind are eager, on a side stream, as torch asks for; they are ordinary steps of the training, and a
capture computes nothing. Hence a resumed training, which captures anew, makes the same steps.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datapruning.errors import first_line
from datapruning.training.step import PartOutputs, StepInputs
from datapruning.utils.console import info

WARM_UP_STEPS = 3
"""Eager steps of a kind before it is captured."""
MAX_GRAPHS = 2
"""Kinds of steps of which a graph is kept: a run has few at a time (images of two sizes, dynamic pruning until its end)."""
Step = Callable[[StepInputs], list[PartOutputs]]


class _Graph(NamedTuple):
    """A captured step: it reads `inputs` and writes `outputs`."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: list[PartOutputs]


class StepGraph:
    """The steps of one training on a GPU, `description`, as graphs.

    A step that cannot be captured is run as any other, as are all steps after it; this is printed once, with the reason.
    """

    def __init__(self, device: torch.device, description: str) -> None:
        self._device, self._description = device, description
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graphs: dict[Hashable, _Graph] = {}
        self._eager_steps: dict[Hashable, int] = {}
        self._failed = False

    def run(self, step: Step, inputs: StepInputs, variant: Hashable) -> list[PartOutputs]:
        """Compute a step; its outputs are valid until the next step.

        `variant` is what decides which operations the step is made of, other than the shapes of `inputs`.
        """
        if self._failed:
            return step(inputs)
        tensors = _tensors(inputs)
        kind = (variant, *(None if t is None else (t.shape, t.stride(), t.dtype) for t in tensors))
        if kind not in self._graphs and self._eager_steps.setdefault(kind, 0) < WARM_UP_STEPS:
            self._eager_steps[kind] += 1
            return self._run_aside(step, inputs)
        if kind not in self._graphs:
            captured = self._capture(step, inputs)
            if captured is None:
                return step(inputs)
            if len(self._graphs) == MAX_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[kind] = captured
        graph = self._graphs[kind]
        for target, source in zip(graph.inputs, _distinct(tensors), strict=True):
            target.copy_(source, non_blocking=True)
        graph.graph.replay()
        return graph.outputs

    def _run_aside(self, step: Step, inputs: StepInputs) -> list[PartOutputs]:
        """Run a step on a side stream, before and after which the stream at hand goes on."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = step(inputs)
        current.wait_stream(self._stream)
        return outputs

    def _capture(self, step: Step, inputs: StepInputs) -> _Graph | None:
        """Record a step, without computing it; None where that fails."""
        copies = {id(tensor): torch.empty_like(tensor).copy_(tensor) for tensor in _distinct(_tensors(inputs))}
        static: StepInputs = _replace_tensors(inputs, lambda tensor: copies[id(tensor)])
        generator = torch.cuda.default_generators[self._device.index or 0]
        state, graph = generator.clone_state(), torch.cuda.CUDAGraph()
        failure: Exception | None = None
        try:  # threads that read data may go on: it is only this one that must not wait or allocate otherwise
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                try:
                    outputs = step(static)
                except Exception as error:
                    failure = error
                    raise
        except RuntimeError as error:  # leaving a capture that failed raises, too
            if not isinstance(failure, RuntimeError | None):
                raise failure from None
            generator.graphsafe_set_state(state)
            self._failed = True
            self._graphs.clear()
            info(
                f"{self._description}: a training step cannot be captured as a CUDA graph, and all steps run one operation "
                f"at a time ({first_line(failure or error)}); train.graph = false avoids the attempt"
            )
            return None
        return _Graph(graph, list(copies.values()), outputs)


def _tensors(value: Any) -> list[Tensor | None]:
    """The tensors in nested named tuples, in order; None for what is None."""
    if isinstance(value, tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return [value] if value is None or isinstance(value, Tensor) else []


def _distinct(tensors: list[Tensor | None]) -> list[Tensor]:
    """Each tensor once."""
    return list({id(tensor): tensor for tensor in tensors if tensor is not None}.values())


def _replace_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Nested named tuples with the function of each tensor in its place."""
    if isinstance(value, tuple):
        return type(value)(*(_replace_tensors(item, function) for item in value))
    return function(value) if isinstance(value, Tensor) else value
