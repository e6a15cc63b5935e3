"""torch's global random generator during training: what dropout and stochastic depth draw from.

What a step draws is a pure function of (seed, epoch, step), as views and orders are. So no generator state has to be
saved, a resumed training draws what it would have drawn, and other draws in between change nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from datapruning.utils.hashing import hash_ids

STREAM_KEY = 0x57EA3


class StepRNG:
    """Seeds the global generators for each step of one epoch.

    Args:
        device: of the network; on a GPU its own generator is seeded, too.
        seed: of the run.
        epoch: counted from 0.
        steps: how many the epoch has.
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
